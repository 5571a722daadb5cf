"""Vertebrae and bodies cut by the field of view."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.scans.volumes import AIR_HU
from vertseg.screening.body import Body
from vertseg.screening.frames import LabelledVertebra, LocalVolume, box_around

CUT_VERTEBRA = "volume (vertebra cut by the field of view)"
CUT_BODY = "HU and heights (body cut by the field of view)"

_CLEARANCE_MM = 2.0
_SHARE = 0.02
"""Smallest share of the surroundings outside the scan that counts; noise makes single voxels."""


def vertebra_cut(vertebra: LabelledVertebra) -> bool:
    """Whether a vertebra reaches the array's border or the padding outside the scanner's circle.

    Padding has at most -1024 HU, less than any tissue.
    """
    box, shape = vertebra.box, vertebra.mask.shape
    if 0 in box.start or any(np.equal(box.stop, shape)):
        return True
    around = box.widened(1, shape)
    padding = vertebra.ct.array[around.slices] <= AIR_HU
    if not padding.any():
        return False
    inside = vertebra.inside(around)
    return _share(padding, ndimage.binary_dilation(inside) & ~inside) > _SHARE


def body_cut(local: LocalVolume, body: Body) -> bool:
    """Whether a body lies within 2 mm of the array's border or of padding."""
    steps = round(_CLEARANCE_MM / local.step_mm)
    around = box_around(body.inside).widened(steps, body.inside.shape).slices
    inside = body.inside[around]
    shell = ndimage.binary_dilation(inside, iterations=steps) & ~inside
    return _share(~(local.hu[around] > AIR_HU), shell) > _SHARE


def _share(outside: NDArray[np.bool_], around: NDArray[np.bool_]) -> float:
    return float(outside[around].mean()) if around.any() else 0.0
