"""Small volumes for the report's viewer: the spine's surroundings in voxels of about 1.4 mm."""

import gzip
import os

import nibabel as nib
import numpy as np

from vertseg.files import atomic_path
from vertseg.volumes import Volume

VOXEL_MM = 1.4
MARGIN_MM = 30.0
LARGEST_VOXELS = 2_500_000
"""About 3 MB compressed; larger regions get coarser voxels."""

HU_RANGE = (-1024, 3071)

Box = tuple[slice, slice, slice]


def write_viewer_volumes(
    ct: Volume,
    mask: np.ndarray,
    ct_path: str | os.PathLike[str],
    mask_path: str | os.PathLike[str],
) -> None:
    """Write CT and label map around the spine, or of the whole scan where no vertebra was found.

    A voxel of the CT is the mean of a block of the scan's voxels (int16 HU), a voxel of the label
    map the value of the block's middle voxel (uint8). Both files appear whole or not at all.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: its label map (x, y, z), VerSe's values.
        ct_path: the CT's .nii.gz file.
        mask_path: the label map's .nii.gz file.
    """
    box = _surroundings(mask, ct.spacing_mm)
    block = _block_size(box, ct.spacing_mm)
    box = _whole_blocks(box, block)
    size = np.array(block, float)
    first_centre = np.array([side.start for side in box]) + (size - 1) / 2
    affine = ct.affine @ nib.affines.from_matvec(np.diag(size), first_centre)
    _save(ct_path, _block_means(ct.array[box], block), affine)
    middle = tuple(slice(size // 2, None, size) for size in block)
    _save(mask_path, mask[box][middle].astype(np.uint8, copy=False), affine)


def _surroundings(mask: np.ndarray, spacing_mm: np.ndarray) -> Box:
    """The box of all labels with a margin; the whole grid where there are none."""
    columns = np.asarray(mask.any(axis=2))
    occupied = [
        np.asarray(array.any(axis=axis))
        for array, axis in ((columns, 1), (columns, 0), (mask, (0, 1)))
    ]
    sides = []
    for axis, length in enumerate(mask.shape):
        inside = np.flatnonzero(occupied[axis])
        margin = int(np.ceil(MARGIN_MM / spacing_mm[axis]))
        first, last = (inside[0], inside[-1]) if inside.size else (0, length - 1)
        sides.append(slice(max(int(first) - margin, 0), min(int(last) + margin + 1, length)))
    x, y, z = sides
    return x, y, z


def _block_size(box: Box, spacing_mm: np.ndarray) -> tuple[int, int, int]:
    """Voxels of the scan along each axis of a block: whole numbers that come nearest to cubes."""
    shape = np.array([side.stop - side.start for side in box])
    size_mm = VOXEL_MM
    while True:
        block = np.clip(np.rint(size_mm / spacing_mm).astype(int), 1, shape)
        if np.prod(shape // block) <= LARGEST_VOXELS:
            x, y, z = (int(size) for size in block)
            return x, y, z
        size_mm *= 1.1


def _whole_blocks(box: Box, block: tuple[int, int, int]) -> Box:
    x, y, z = (
        slice(side.start, side.stop - (side.stop - side.start) % size)
        for side, size in zip(box, block, strict=True)
    )
    return x, y, z


def _block_means(array: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Mean of each block in whole HU, (x, y, z) int16; only arrays of that size are made."""
    total = np.zeros([n // size for n, size in zip(array.shape, block, strict=True)], np.float32)
    for offset in np.ndindex(block):
        every = tuple(slice(start, None, size) for start, size in zip(offset, block, strict=True))
        total += array[every]
    return np.clip(np.rint(total / np.prod(block)), *HU_RANGE).astype(np.int16)


def _save(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(array), affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
