"""The search for scans below a folder, and the names of their outputs; without numpy."""

import gzip
import logging
import math
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files
from vertseg.scans import zips
from vertseg.scans.dicom.first_elements import (
    HEAD_BYTES,
    SUFFIXES,
    FirstElements,
    file_elements,
    first_elements,
)

# That of `core.logs`, which imports tqdm: Snakemake's side may not have it.
logger = logging.getLogger("vertseg")

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Suffixes of the formats of ITK."""
_KNOWN = (*NIFTI, *ITK, ".zip")
FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM (folder, .zip)"
"""All supported formats, for messages."""

VIEWER_CT_SUFFIX = "_viewer_ct.nii.gz"
"""End of the name of the small CT that `vertseg predict` of version 0.1 wrote for its report."""
STRAIGHT_CT_SUFFIX = "_straight_ct.nii.gz"
"""End of the name of the CT that `vertseg predict` writes for a series of a tilted gantry."""

_MASK_FOLDERS = {"segmentations", "labelstr", "labelsts"}
"""Folders of masks alone, in TotalSegmentator's and nnU-Net's data sets, in lower case."""
_MASK_NAME = re.compile(
    r"(?:.*[_.-])?(?:msk|mask|seg|dseg|probseg)|vertebrae_(?:[ct]\d+|l\d|s1)", re.IGNORECASE
)
"""Names, without suffix, of masks: VerSe's, BIDS', 3D Slicer's, TotalSegmentator's and our own."""

_MOST_NAMED = 5
_MOST_ARCHIVED = 1000
_LOOKS = 16


def find_scans(
    folder: str | os.PathLike[str], results: str | os.PathLike[str] | None = None
) -> list[Path]:
    """All scans below a folder, sorted: images, archives of scans, and folders of DICOM images.

    Links are followed; hidden files and folders are passed over. So are masks, known by their name
    or by a header of 8 bits, which HU do not fit into; CTs that `vertseg predict` wrote; DICOM
    files other than images; and, with a warning, folders whose images are localisers, secondary
    captures or of another modality than CT. A folder of DICOM images is one scan. If other scans
    lie below it, one of its files stands for it, unless its series goes on in all of them.

    Args:
        folder: where to look.
        results: a folder of outputs, which is left out unless `folder` lies in it.

    Raises:
        UserError: the folder is missing or without scans, or holds a link to a missing file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of scans.")
    scans: list[Path] = []
    series: dict[Path, _Series] = {}
    passed_over: dict[str, list[Path]] = {}
    for place, names in walk_files(root, left_out=results):
        others = []
        for name in names:
            if not file_suffix(name):
                others.append(name)
            elif not name.lower().endswith((VIEWER_CT_SUFFIX, STRAIGHT_CT_SUFFIX)):
                path = place / name
                if reason := _no_scan_reason(path):
                    passed_over.setdefault(reason, []).append(path)
                else:
                    scans.append(path)
        found = _find_series(place, others)
        if found and (reason := found.elements.unusable_reason):
            passed_over.setdefault(f"DICOM folders ({reason})", []).append(place)
        elif found:
            series[place] = found
    reasons = [
        f"{len(paths)} {kind} passed over: {_named(paths, root)}"
        for kind, paths in sorted(passed_over.items())
    ]
    scans += _places(series)
    if not scans:
        only = "".join(f"\n  {reason}" for reason in reasons)
        raise UserError(f"{root}: holds no scan. Supported formats: {FORMATS}.{only}")
    for reason in [*reasons, *_split_series(series, scans, root)]:
        logger.warning("%s: %s", root, reason)
    return sorted(scans)


def one_path_each(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """The given paths, of those that lead to one DICOM series in one folder only the first.

    Such are several files of a series, and a folder without further ones, all of whose sampled
    files are of one series.
    """
    seen: set[tuple[str, str]] = set()
    kept = []
    for path in paths:
        key = _series_key(Path(path))
        if key is None or key not in seen:
            kept.append(path)
        if key is not None:
            seen.add(key)
    return kept


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


def file_suffix(path: str | os.PathLike[str]) -> str:
    """Suffix of the format, in lower case, or ""."""
    name = os.fspath(path).lower()
    if not name.endswith(_KNOWN):
        return ""
    return max((suffix for suffix in _KNOWN if name.endswith(suffix)), key=len)


@dataclass(frozen=True)
class _Series:
    """An image of a DICOM series in a folder."""

    file: Path
    elements: FirstElements


def _find_series(place: Path, names: Sequence[str]) -> _Series | None:
    """The first DICOM image of a folder's files that may be of a CT; else its first image.

    After the first image that is of no CT, only a sample of the files is looked at.
    """
    ordered = sorted(names, key=lambda name: not name.lower().endswith(SUFFIXES))
    images = _images(place, ordered)
    first = next(images, None)
    if first is None or not first.elements.unusable_reason:
        return first
    rest = ordered[ordered.index(first.file.name) + 1 :]
    step = max(1, math.ceil(len(rest) / _LOOKS))
    sample = _images(place, [*rest[::step], *rest[-1:]])
    return next((one for one in sample if not one.elements.unusable_reason), first)


def _images(place: Path, names: Iterable[str]) -> Iterator[_Series]:
    """The DICOM images among files, and files that are named, but cannot be read, as DICOM."""
    for name in names:
        if name == "DICOMDIR":
            continue
        try:
            elements = file_elements(place / name)
        except OSError:
            elements = FirstElements()
        if elements is None and name.lower().endswith(SUFFIXES):
            elements = FirstElements()
        if elements is not None and elements.is_image:
            yield _Series(place / name, elements)


def _places(series: dict[Path, _Series]) -> Iterator[Path]:
    """Paths by which the series of folders are read: folders, or files where others lie below."""
    above = {parent for place in series for parent in place.parents}
    covered: set[Path] = set()
    for place in sorted(series):
        if place in covered:
            continue
        if place not in above:
            yield place
            continue
        below = [other for other in series if place in other.parents]
        uid = series[place].elements.series
        if uid and all(series[other].elements.series == uid for other in below):
            covered.update(below)
            yield place
        else:
            yield series[place].file


def _split_series(series: dict[Path, _Series], scans: Sequence[Path], root: Path) -> Iterator[str]:
    """Warnings about series that lie in several folders, of which each is a scan."""
    listed = set(scans)
    folders: dict[str, list[Path]] = {}
    for place, one in series.items():
        if one.elements.series and listed & {place, one.file}:
            folders.setdefault(one.elements.series, []).append(place)
    for places in folders.values():
        if len(places) > 1:
            yield (
                f"{len(places)} folders with one series' UID: {_named(places, root)}. Each is "
                "predicted by itself: if they are parts of one series, move its files to one "
                "folder; if they are copies, keep one."
            )


def _series_key(path: Path) -> tuple[str, str] | None:
    """Folder and UID of the one series that a path leads to; None if there may be others."""
    try:
        if path.is_dir():
            [(folder, names)] = walk_files(path)
            sample = names[:: max(1, len(names) // 2)]
            uids = {one.elements.series for one in _images(folder, sample)}
        elif path.is_file() and not file_suffix(path):
            elements = file_elements(path)
            folder, uids = path.parent, {elements.series if elements else ""}
        else:
            return None
    except (OSError, UserError, ValueError):
        return None
    uid = uids.pop() if len(uids) == 1 else ""
    return (str(folder.resolve()), uid) if uid else None


def _no_scan_reason(path: Path) -> str | None:
    """Reason for which an image file or an archive is passed over, or None."""
    suffix = file_suffix(path)
    if suffix == ".zip":
        return None if _may_hold_scan(path) else "archives without a scan"
    stem = path.name[: -len(suffix)]
    if path.parent.name.lower() in _MASK_FOLDERS or _MASK_NAME.fullmatch(stem):
        return "masks"
    try:
        return "masks" if _has_8_bits(path, suffix) else None
    except (OSError, EOFError, zlib.error, struct.error):
        return None


def _may_hold_scan(path: Path) -> bool:
    """Whether an archive holds an image or a DICOM file, cannot be read, or has many files."""
    try:
        with zips.open_zip(path, zips.DICOM) as archive:
            names = archive.names()
            if len(names) > _MOST_ARCHIVED or any(file_suffix(name) for name in names):
                return True
            for name in names:
                with archive.open(name) as file:
                    elements = first_elements(file.read(HEAD_BYTES))
                if Path(name).suffix.lower() in SUFFIXES or (elements and elements.is_image):
                    return True
    except UserError:
        return True
    return False


def _has_8_bits(path: Path, suffix: str) -> bool:
    """Whether an image's header states whole numbers of 8 bits, not rescaled, or labels."""
    with path.open("rb") as file:
        head = file.read(4096)
    if suffix not in NIFTI:
        return _HAS_8_BITS.search(head) is not None
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as unpacked:
            head = unpacked.read(540)
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0]
        if size in _NIFTI_FIELDS:
            at, kinds = _NIFTI_FIELDS[size]
            intent, datatype, slope, intercept = (
                struct.unpack_from(order + kind, head, offset)[0]
                for kind, offset in zip(kinds, at, strict=True)
            )
            plain = not (math.isfinite(slope) and math.isfinite(intercept)) or (
                slope in (0, 1) and intercept == 0
            )
            return intent == _LABELS or (datatype in (2, 256) and plain)
    return False


_HAS_8_BITS = re.compile(
    rb"^(?:ElementType *= *MET_U?CHAR|type: *(?:u?int8(?:_t)?|uchar|(?:un)?signed char))\s*$",
    re.MULTILINE,
)
"""The line of a MetaImage's or NRRD's header about voxels of 8 bits."""

_NIFTI_FIELDS = {
    348: ((68, 70, 112, 116), "hhff"),
    540: ((504, 12, 176, 184), "ihdd"),
}
"""Places and types of the intent's code, datatype, slope and intercept by the header's size."""

_LABELS = 1002
"""NIfTI's code of label maps."""


def _named(paths: Sequence[Path], root: Path) -> str:
    more = len(paths) - _MOST_NAMED
    listed = ", ".join(str(path.relative_to(root)) for path in paths[:_MOST_NAMED])
    return f"{listed} and {more} more" if more > 0 else listed


def _safe(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.") or "scan"


def _clashes(names: list[str]) -> list[int]:
    counts = Counter(name.casefold() for name in names)
    return [index for index, name in enumerate(names) if counts[name.casefold()] > 1]


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """An absolute path without `..`; links keep their names."""
    return Path(os.path.normpath(Path(path).absolute()))
