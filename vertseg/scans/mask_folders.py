"""Masks as a folder of one binary file a vertebra, as TotalSegmentator writes them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.scans.volumes import Geometry, same_grid

PATTERN = "vertebrae_*.nii.gz"
"""Names of the files: `vertebrae_C1.nii.gz` to `vertebrae_L5.nii.gz`, and others."""

_NAME = re.compile(r"vertebrae_(.+)\.nii\.gz")
_IGNORED = ("S1",)


def mask_file(path: str | os.PathLike[str]) -> Path:
    """A NIfTI file with a mask's header: the mask itself, or the first file of its folder.

    Raises:
        UserError: a folder without such files.
    """
    path = Path(path)
    return next(iter(vertebra_files(path).values())) if path.is_dir() else path


def vertebra_files(folder: Path) -> dict[int, Path]:
    """The file of each vertebra in a folder by VerSe's value; S1 and other organs are left out.

    Raises:
        UserError: the folder holds no such file, or one with the name of an unknown vertebra.
    """
    found = {}
    for path in sorted(folder.glob(PATTERN)):
        match = _NAME.fullmatch(path.name)
        name = match[1] if match else ""
        if name in IDS:
            found[IDS[name]] = path
        elif name not in _IGNORED:
            raise UserError(f"{path}: {name!r} is not a vertebra (C1 to L6, T13). Rename the file.")
    if not found:
        raise UserError(
            f"{folder}: a folder as a mask must hold TotalSegmentator's {PATTERN}, one file a "
            "vertebra. Give that folder, or one NIfTI file with all labels."
        )
    return dict(sorted(found.items()))


def load_mask_folder(
    folder: Path, load: Callable[[Path], tuple[np.ndarray, Geometry]]
) -> tuple[np.ndarray, Geometry]:
    """One label map (i, j, k) of VerSe's values, uint8, from a folder of binary masks.

    Args:
        folder: holds `vertebrae_*.nii.gz`.
        load: reads voxels and geometry of one file.

    Raises:
        UserError: a file cannot be read or is not binary, grids differ, or vertebrae overlap.
    """
    label_map: np.ndarray | None = None
    first: Geometry | None = None
    for label, path in vertebra_files(folder).items():
        array, geometry = load(path)
        if first is None or label_map is None:
            first, label_map = geometry, np.zeros(array.shape, np.uint8)
        elif array.shape != label_map.shape or not same_grid(geometry, first):
            raise UserError(
                f"{path}: its grid is not that of the other masks in the folder. "
                "Segment the scan again."
            )
        inside = array != 0
        if inside.any() and (array[inside] != array[inside].flat[0]).any():
            raise UserError(
                f"{path}: not a binary mask, since it holds several values. A file with all "
                "labels is named as the mask itself, not by its folder."
            )
        if (label_map[inside] != 0).any():
            raise UserError(f"{path}: overlaps another vertebra's mask. Segment the scan again.")
        label_map[inside] = label
    assert label_map is not None and first is not None
    return label_map, first
