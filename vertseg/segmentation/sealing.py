"""Masks of bone without the gaps in its surface and the holes behind them."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from vertseg.segmentation.surroundings import Floats, Mask

SEAL_MM = 1.25
"""Half width of gaps in the surface that are closed."""

_POCKET_SHARE = 0.3


def sealed(bone: Mask, own: Mask, spacing: Floats, cut: Sequence[tuple[bool, bool]]) -> Mask:
    """Bone (x, y, z) with all that a ball of `SEAL_MM` does not reach from outside.

    Hollows that are closed in, but lie mostly outside the given outline, are left open.

    Args:
        bone: voxels of bone.
        own: voxels of the given outline.
        spacing: size of a voxel in mm.
        cut: for each axis, whether its first and last side are those of the scan, which close.
    """
    gaps = np.maximum(np.floor(2 * SEAL_MM / spacing + 1e-6), 1).astype(int)
    crosses = [tuple(bool(n // 2 > step) for n in gaps) for step in range(int(gaps.max()) // 2)]
    odd = [bool(n % 2) for n in gaps]
    grown = bone
    for axes in crosses:
        grown = dilated(grown, axes)
    free = ~_shifted(grown, odd, 1)
    parts, count = ndimage.label(free)
    size = np.bincount(parts.ravel(), minlength=count + 1)
    inside = np.bincount(parts[own], minlength=count + 1)
    reached = inside < _POCKET_SHARE * size
    for axis, sides in enumerate(cut):
        for end, is_scan_end in zip((0, -1), sides, strict=True):
            if not is_scan_end:
                reached[np.unique(parts.take(end, axis))] = True
    reached[0] = False
    open_ = _shifted(reached[parts], odd, -1)
    for axes in crosses:
        open_ = dilated(open_, axes)
    return ~open_ | bone


def dilated(mask: Mask, axes: Sequence[bool]) -> Mask:
    """A mask (x, y, z) and its neighbours on both sides along some axes."""
    result = mask.copy()
    for axis in np.flatnonzero(axes):
        there, here = np.moveaxis(result, axis, 0), np.moveaxis(mask, axis, 0)
        there[1:] |= here[:-1]
        there[:-1] |= here[1:]
    return result


def _shifted(mask: Mask, axes: Sequence[bool], step: int) -> Mask:
    """A mask (x, y, z) and its neighbours on one side, behind (1) or before (-1), along axes."""
    for axis in np.flatnonzero(axes):
        result = mask.copy()
        there, here = np.moveaxis(result, axis, 0)[::step], np.moveaxis(mask, axis, 0)[::step]
        there[1:] |= here[:-1]
        mask = result
    return mask
