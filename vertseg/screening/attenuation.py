"""Attenuation of the spongy bone of a body, and metal or cement in it."""

import numpy as np

from vertseg.screening.body import Body
from vertseg.screening.frames import LocalVolume

FOREIGN = "HU (metal or cement)"
TOO_SMALL = "HU (body too small)"

RIM_MM = (4.5, 4.0)
"""Depth of the rim that is left out, and the smaller one for small bodies."""

FINE_MM = 1.0
"""Largest cell of a network whose outlines are as good as a voxel's."""

_LEAST_ML = 0.1
"""Smallest volume of spongy bone with a median."""
_FOREIGN_HU = 1000
_METAL_HU = 2000
_FOREIGN_ML = 0.2


def trabecular_hu(local: LocalVolume, body: Body, cell_mm: float = 0) -> float | None:
    """Median HU of the voxels at least 4.5 mm below the body's surface, 4 mm in small bodies.

    The rim keeps out the cortex with its blur. The vein in the body's middle hardly moves the
    median.

    Args:
        local: the vertebra along its own axes.
        body: the vertebra's body.
        cell_mm: size of the cells on which a network drew the outline; coarse ones widen the rim.

    Returns:
        HU, or None if less than 0.1 ml remain.
    """
    for rim_mm in RIM_MM:
        core = local.hu[body.depth_mm >= rim_mm + max(cell_mm - FINE_MM, 0)]
        if len(core) * local.step_mm**3 >= 1000 * _LEAST_ML:
            return round(float(np.median(core)), 1)
    return None


def foreign_material(local: LocalVolume, body: Body) -> bool:
    """Whether over 0.2 ml exceed 1000 HU inside the body, or 2000 HU in the vertebra around it."""
    in_body = (body.depth_mm >= 2) & (local.hu > _FOREIGN_HU)
    metal = (local.occupancy >= 0.5) & (local.hu > _METAL_HU)
    return bool(max(in_body.sum(), metal.sum()) * local.step_mm**3 > 1000 * _FOREIGN_ML)
