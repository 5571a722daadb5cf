"""The search for scans below a folder, and the names of their outputs; without numpy."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vertseg.core.errors import UserError

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Suffixes of the formats of ITK."""
FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM (folder, .zip)"
"""All supported formats, for messages."""


def find_scans(folder: str | os.PathLike[str]) -> list[Path]:
    """All scans below a folder, sorted: image files, zip archives, and folders of DICOM files.

    A folder with files, of which none is an image or an archive, counts as one DICOM scan. Hidden
    files and folders are passed over.

    Raises:
        UserError: the folder is missing or without scans.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of scans.")
    scans: list[Path] = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(place, name) for name in sorted(files) if not name.startswith(".")]
        images = [path for path in paths if file_suffix(path)]
        scans += images or ([Path(place)] if paths else [])
    if not scans:
        raise UserError(f"{root}: holds no scan. Supported formats: {FORMATS}.")
    return sorted(scans)


def scan_name(path: str | os.PathLike[str]) -> str:
    """BIDS-like stem for the outputs of a scan: `sub-x_ct.nii.gz` gives `sub-x`.

    A DICOM folder gives its own name, one file of it `{folder}_{file}`. Characters other than
    ASCII letters, digits, `_`, `-` and `.` become `-`.
    """
    path = absolute_path(path)
    suffix = file_suffix(path)
    if path.is_dir():
        stem = path.name
    elif suffix in (*NIFTI, *ITK, ".zip"):
        stem = re.sub(r"[_-]ct$", "", path.name[: -len(suffix)], flags=re.IGNORECASE)
    else:
        stem = f"{path.parent.name}_{path.stem}"
    return _safe(stem)


def scan_names(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """A name for each scan of one call, all different even where case does not count.

    Scans of equal names (`p1/CT`, `p2/CT`) get their parent folders' names in front (`p1_CT`).

    Raises:
        UserError: a path is given twice, or names cannot be told apart.
    """
    given = [absolute_path(path) for path in paths]
    names = [scan_name(path) for path in given]
    parents = [list(path.parents) for path in given]
    while clashes := _clashes(names):
        for index in clashes:
            parent = parents[index].pop(0) if parents[index] else Path()
            if not parent.name:
                same = ", ".join(str(given[clash]) for clash in clashes)
                raise UserError(
                    f"{same}: these scans' outputs would have the same names. Give each scan once, "
                    "or in calls of their own with different output folders."
                )
            names[index] = f"{_safe(parent.name)}_{names[index]}"
    return names


def file_suffix(path: Path) -> str:
    """Suffix of the format, in lower case, or ""."""
    known = (*NIFTI, *ITK, ".zip")
    return max((s for s in known if path.name.lower().endswith(s)), key=len, default="")


def _safe(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.") or "scan"


def _clashes(names: list[str]) -> list[int]:
    counts = Counter(name.casefold() for name in names)
    return [index for index, name in enumerate(names) if counts[name.casefold()] > 1]


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """An absolute path without `..`; links keep their names."""
    return Path(os.path.normpath(Path(path).absolute()))
