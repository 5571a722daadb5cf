"""Small volumes for the report's viewer: the spine's surroundings in voxels of about 1.4 mm.

They lie in a script, since a page opened from a disk may load scripts beside it, but no data.
"""

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.label_maps import labelled_box
from vertseg.core.errors import UserError
from vertseg.core.files import write_text
from vertseg.scans.nifti import write_nifti
from vertseg.scans.volumes import Geometry, Volume

VOXEL_MM = 1.4
MARGIN_MM = 30.0
LARGEST_VOXELS = 2_500_000
"""About 3 MB compressed; larger regions get coarser voxels."""

HU_RANGE = (-1024, 3071)

_CALL = ("vertsegScan(", ");\n")
_KEYS = {"shape", "affine", "positions", "ct", "mask"}


def write_viewer_volumes(
    ct: Volume, mask: np.ndarray, centres: Centres, path: str | os.PathLike[str]
) -> None:
    """Write CT and label map around the spine, or of the whole scan if no vertebra was found.

    A voxel of the CT is the mean of a block of the scan's voxels (int16 HU), a voxel of the label
    map the value of the block's middle voxel (uint8). The script calls `vertsegScan` with both as
    compressed NIfTI files in base64, their shape (x, y, z) and affine (3, 4), and each centre's
    position (x, y, z) in parts of the volume.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), VerSe's values.
        centres: body centres of the vertebrae in mm, by label.
        path: the script; it appears whole or not at all.
    """
    box = _surroundings(mask, ct.spacing_mm)
    block = _block_size(box, ct.spacing_mm)
    box = _whole_blocks(box, block)
    size = np.array(block, float)
    affine = ct.affine @ nib.affines.from_matvec(np.diag(size), box.start + (size - 1) / 2)
    means = _block_means(ct.array[box.slices], block)
    middle = tuple(slice(size // 2, None, size) for size in block)
    labels = mask[box.slices][middle].astype(np.uint8, copy=False)
    to_voxels = np.linalg.inv(affine)
    content = {
        "shape": list(means.shape),
        "affine": np.round(affine[:3], 6).tolist(),
        "positions": {
            label: np.round(
                (nib.affines.apply_affine(to_voxels, centre) + 0.5) / means.shape, 4
            ).tolist()
            for label, centre in centres.items()
        },
        "ct": _packed(means, affine),
        "mask": _packed(labels, affine),
    }
    write_text(path, json.dumps(content).join(_CALL))


def read_viewer_volumes(path: Path) -> str:
    """The argument of the call in such a script: a JSON object that can stand in a page.

    Raises:
        UserError: the file is missing, unreadable or another kind of script.
    """
    try:
        text = path.read_text("utf-8")
        start, end = _CALL
        if not (text.startswith(start) and text.endswith(end)):
            raise ValueError("not a script of vertseg predict")
        argument = text[len(start) : -len(end)]
        content: Any = json.loads(argument)
        if not (isinstance(content, dict) and content.keys() == _KEYS) or "<" in argument:
            raise ValueError("not a script of vertseg predict")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Run vertseg predict on the scan again."
        ) from error
    return argument


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


def _packed(array: np.ndarray, affine: np.ndarray) -> str:
    """A compressed NIfTI file of an array (x, y, z) in base64."""
    x, y, z = array.shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "volume.nii.gz")
        write_nifti(path, array, Geometry((x, y, z), affine), level=6)
        return base64.b64encode(path.read_bytes()).decode()
