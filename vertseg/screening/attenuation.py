"""Attenuation of a body's spongy bone."""

import numpy as np

from vertseg.screening.body import Body
from vertseg.screening.frames import LocalVolume

FOREIGN = "HU (metal or cement)"
TOO_SMALL = "HU (body too small)"

RIM_MM = (4.5, 4.0)

FINE_MM = 1.0
"""Cells of a network up to this draw outlines as good as a voxel's."""

_LEAST_ML = 0.1
_FOREIGN_HU = 1000
_METAL_HU = 2000
_FOREIGN_ML = 0.2


def trabecular_hu(local: LocalVolume, body: Body, cell_mm: float = 0) -> float | None:
    """Median HU of the voxels at least 4.5 mm below the body's surface, 4 mm in small bodies.

    The rim keeps out the cortex with its blur. The median is little moved by the vein in the body's
    middle.

    Args:
        local: the vertebra along its own axes.
        body: its body.
        cell_mm: size of the cells on which a network drew the outline; coarse ones widen the rim.

    Returns:
        None if less than 0.1 ml remain.
    """
    for rim_mm in RIM_MM:
        core = local.hu[body.depth_mm >= rim_mm + max(cell_mm - FINE_MM, 0)]
        if len(core) * local.step_mm**3 >= 1000 * _LEAST_ML:
            return round(float(np.median(core)), 1)
    return None


def foreign_material(local: LocalVolume, body: Body) -> bool:
    """Whether 0.2 ml are denser than bone: 1000 HU inside the body, 2000 HU about it."""
    in_body = (body.depth_mm >= 2) & (local.hu > _FOREIGN_HU)
    metal = (local.occupancy >= 0.5) & (local.hu > _METAL_HU)
    return bool(max(in_body.sum(), metal.sum()) * local.step_mm**3 > 1000 * _FOREIGN_ML)
