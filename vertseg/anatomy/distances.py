"""Distances to a surface, in less time and a third of the memory that scipy takes for them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box

_BLOCK_MM = 1.5
"""Side of the blocks in which deep voxels are looked for first."""


def depth_mm(inside: NDArray[np.bool_], spacing_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance (x, y, z) in mm of each voxel to the nearest one that is not inside, 0 there.

    It equals that of `scipy.ndimage.distance_transform_edt`, which computes it of all voxels at a
    time.

    Args:
        inside: an object (x, y, z), not all of the array.
        spacing_mm: size of a voxel along x, y and z.
    """
    nearest = ndimage.distance_transform_edt(
        inside, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    depth = np.empty(inside.shape)
    y, z = np.ogrid[: inside.shape[1], : inside.shape[2]]
    for x, there in enumerate(np.moveaxis(nearest, 1, 0)):
        ways = zip(there, (x, y, z), spacing_mm, strict=True)
        depth[x] = np.sqrt(sum(((to - here) * step) ** 2 for to, here, step in ways))
    return depth


def core_voxels(
    inside: NDArray[np.bool_], spacing_mm: NDArray[np.floating], share: float
) -> NDArray[np.intp]:
    """Indices (n, 3) of an object's voxels that are deeper than a share of its largest depth.

    Args:
        inside: an object (x, y, z), not empty; all beyond the array is outside.
        spacing_mm: size of a voxel along x, y and z.
        share: from 0 to 1.
    """
    box = _around_core(inside, spacing_mm, share)
    depth = depth_mm(np.pad(inside[box.slices], 1), spacing_mm)
    return np.argwhere(depth > share * depth.max()) - 1 + np.array(box.start)


def _around_core(inside: NDArray[np.bool_], spacing_mm: NDArray[np.floating], share: float) -> Box:
    """Box of an object's voxels that may be its core, and of all that decide how deep they are.

    Distances of blocks that lie inside as a whole differ from those of their voxels by no more than
    the distance of a block's outermost voxels.
    """
    stride = np.maximum(np.round(_BLOCK_MM / spacing_mm), 1).astype(int)
    if stride.max() == 1:
        return Box.whole(inside.shape)
    blocks = -(-np.array(inside.shape) // stride)
    filled = np.pad(inside, [(0, n) for n in blocks * stride - inside.shape])
    sides = np.stack([blocks, stride], axis=1).ravel()
    whole = filled.reshape(sides).all(axis=(1, 3, 5))
    depth = depth_mm(np.pad(whole, 1), stride * spacing_mm)[1:-1, 1:-1, 1:-1]
    error = float(np.linalg.norm((stride - 1) * spacing_mm))
    likely = np.argwhere(depth >= share * (depth.max() - error) - error)
    core = Box.of(
        [
            slice(int(first * step), int((last + 1) * step))
            for first, last, step in zip(
                likely.min(axis=0), likely.max(axis=0), stride, strict=True
            )
        ]
    )
    margin = np.ceil((depth.max() + error) / spacing_mm).astype(int)
    return core.widened(margin, inside.shape)
