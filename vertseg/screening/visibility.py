"""Whether the scan shows a vertebra, and its body, as a whole."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.scans.volumes import AIR_HU, Volume
from vertseg.screening.body import Body
from vertseg.screening.frames import Box, LocalVolume, widened

CUT_VERTEBRA = "volume (vertebra cut by the field of view)"
CUT_BODY = "HU and heights (body cut by the field of view)"

_CLEARANCE_MM = 2.0
_SHARE = 0.02
"""Share of the surroundings that must be outside the scan: single voxels of noise do not count."""


def vertebra_cut(ct: Volume, mask: NDArray, label: int, box: Box) -> bool:
    """Whether a vertebra reaches the array's border or the padding outside the scanner's circle.

    Padding is what no tissue is: at most -1024 HU.
    """
    if any(side.start == 0 or side.stop == n for side, n in zip(box, mask.shape, strict=True)):
        return True
    wide = widened(box, mask.shape, np.ones(3))
    near = ct.array[wide] <= AIR_HU
    if not near.any():
        return False
    inside = mask[wide] == label
    return _share(near, ndimage.binary_dilation(inside) & ~inside) > _SHARE


def body_cut(local: LocalVolume, body: Body) -> bool:
    """Whether less than 2 mm of scan, or padding, surround part of a body."""
    steps = round(_CLEARANCE_MM / local.step_mm)
    x, y, z = ndimage.find_objects(body.inside.astype(np.uint8))[0]
    wide = widened((x, y, z), body.inside.shape, np.full(3, steps))
    inside = body.inside[wide]
    shell = ndimage.binary_dilation(inside, iterations=steps) & ~inside
    return _share(~(local.hu[wide] > AIR_HU), shell) > _SHARE


def _share(outside: NDArray[np.bool_], around: NDArray[np.bool_]) -> float:
    return float(outside[around].mean()) if around.any() else 0.0
