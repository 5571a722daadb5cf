"""Small volumes for the report's viewer: the spine's surroundings in voxels of about 1.4 mm."""

import os

import nibabel as nib
import numpy as np

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import labelled_box
from vertseg.scans.nifti import write_nifti
from vertseg.scans.volumes import Geometry, Volume

VOXEL_MM = 1.4
MARGIN_MM = 30.0
LARGEST_VOXELS = 2_500_000
"""About 3 MB compressed; larger regions get coarser voxels."""

HU_RANGE = (-1024, 3071)


def write_viewer_volumes(
    ct: Volume,
    mask: np.ndarray,
    ct_path: str | os.PathLike[str],
    mask_path: str | os.PathLike[str],
) -> None:
    """Write CT and label map around the spine, or of the whole scan if no vertebra was found.

    A voxel of the CT is the mean of a block of the scan's voxels (int16 HU), a voxel of the label
    map the value of the block's middle voxel (uint8). Both files appear whole or not at all.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), VerSe's values.
        ct_path: the CT's .nii.gz file.
        mask_path: the label map's .nii.gz file.
    """
    box = _surroundings(mask, ct.spacing_mm)
    block = _block_size(box, ct.spacing_mm)
    box = _whole_blocks(box, block)
    size = np.array(block, float)
    affine = ct.affine @ nib.affines.from_matvec(np.diag(size), box.start + (size - 1) / 2)
    _save(ct_path, _block_means(ct.array[box.slices], block), affine)
    middle = tuple(slice(size // 2, None, size) for size in block)
    labels = mask[box.slices][middle].astype(np.uint8, copy=False)
    _save(mask_path, labels, affine)


def _surroundings(mask: np.ndarray, spacing_mm: np.ndarray) -> Box:
    """The box of all labels with a margin, or the whole scan if there are no labels."""
    labelled = labelled_box(mask) or Box.whole(mask.shape)
    return labelled.widened(np.ceil(MARGIN_MM / spacing_mm), mask.shape)


def _block_size(box: Box, spacing_mm: np.ndarray) -> tuple[int, int, int]:
    """Number of the scan's voxels along each axis of a block that is as near a cube as possible."""
    shape = np.array(box.shape)
    size_mm = VOXEL_MM
    while True:
        block = np.clip(np.rint(size_mm / spacing_mm).astype(int), 1, shape)
        if np.prod(shape // block) <= LARGEST_VOXELS:
            x, y, z = (int(size) for size in block)
            return x, y, z
        size_mm *= 1.1


def _whole_blocks(box: Box, block: tuple[int, int, int]) -> Box:
    """The box without voxels at its end that do not fill a block."""
    x, y, z = (
        stop - (stop - start) % size
        for start, stop, size in zip(box.start, box.stop, block, strict=True)
    )
    return Box(box.start, (x, y, z))


def _block_means(array: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Mean of each block in whole HU, (x, y, z) int16; only arrays of that size are made."""
    total = np.zeros([n // size for n, size in zip(array.shape, block, strict=True)], np.float32)
    for offset in np.ndindex(block):
        every = tuple(slice(start, None, size) for start, size in zip(offset, block, strict=True))
        total += array[every]
    return np.clip(np.rint(total / np.prod(block)), *HU_RANGE).astype(np.int16)


def _save(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray) -> None:
    x, y, z = array.shape
    write_nifti(path, array, Geometry((x, y, z), affine), level=6)
