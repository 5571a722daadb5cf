"""Headers of NRRD files (.nrrd, .nhdr).

Fields: https://teem.sourceforge.net/nrrd/format.html
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vertseg.core.errors import UserError
from vertseg.scans.data_files import (
    END_OF_NRRD,
    LONGEST_HEADER,
    data_files,
    nrrd_names,
    whole_number,
)
from vertseg.scans.stored import StoredImage, numbers, sides
from vertseg.scans.streams import open_stream

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_ENCODINGS = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
}
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
"""Signs of the spaces of a patient; with `-time` or a T appended, they have a fourth axis."""

_SCANNER_SPACES = {
    "scanner-xyz": 3,
    "scanner-xyz-time": 4,
    "3d-right-handed": 3,
    "3d-left-handed": 3,
    "3d-right-handed-time": 4,
    "3d-left-handed-time": 4,
}
"""Numbers of axes of the spaces that do not say where the patient's left is."""

_OTHER_UNITS = frozenset({"m", "meter", "meters", "cm", "um", "µm", "micron", "microns", "inch"})
_NAMES = frozenset(
    {
        *("number", "content", "type", "blocksize", "dimension", "sizes", "encoding", "endian"),
        *("byteskip", "lineskip", "datafile", "kinds", "labels", "units", "min", "max", "oldmin"),
        *("oldmax", "sampleunits", "space", "spacedimension", "spaceunits", "spaceorigin"),
        *("spacedirections", "measurementframe", "spacings", "thicknesses", "axismins"),
        *("axismaxs", "centers", "centerings"),
    }
)
"""Fields, without the spaces in their names."""

_DOMAIN_KINDS = frozenset({"domain", "space", "time", "none", "???"})
_NO_SPACE = "The header states no space of the patient; left-posterior-superior was assumed."


def read_header(path: Path) -> StoredImage:
    """The image that an NRRD header states.

    Raises:
        UserError: it is not a grey-value image in mm, or names too many files.
        ValueError: the header is damaged.
    """
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", start):
        raise ValueError("it does not start as NRRD does")
    end = END_OF_NRRD.search(start)
    fields, listed = _fields(start[: end.start()] if end else start)
    dimension = whole_number(fields.get("dimension", ""), "dimension", 1, 16)
    shape = sides(fields.get("sizes", ""), dimension, "sizes")
    steps, origin, remarks = _space(fields, dimension, path)
    axes = _spatial_axes(shape, steps, path)
    dtype = _dtype(fields)
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower(), "")
    if not encoding:
        raise ValueError(f"encoding {fields.get('encoding', '')!r} is unknown")
    affine = np.eye(4)
    for column, axis in enumerate(axes[:3]):
        affine[:3, column] = steps[axis]
    affine[:3, 3] = origin
    files = _files(fields, listed, path, shape)
    start_of_data = 0
    if "datafile" not in fields:
        if not end:
            raise ValueError("the header has no end")
        start_of_data = end.end()
    offset, at_end, unpacked_offset = _skipped(fields, files, start_of_data, encoding)
    return StoredImage(
        tuple(shape[axis] for axis in axes),
        dtype,
        affine,
        files,
        encoding,
        offset,
        at_end,
        unpacked_offset,
        remarks,
    )


def _fields(header: bytes) -> tuple[dict[str, str], list[str]]:
    """Fields by name, without case and spaces, and the lines of a list of data files."""
    fields: dict[str, str] = {}
    lines = header.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")[1:]
    for index, line in enumerate(lines):
        if not line.strip() or line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        name, mark, value = line.partition(":")
        name = name.lower().replace(" ", "")
        if not mark or name not in _NAMES:
            raise ValueError(f"{line[:80]!r} is not a field of an NRRD header")
        if fields.setdefault(name, value.strip()) != value.strip():
            raise ValueError(f"it states {name!r} twice")
        if name == "datafile" and value.split()[:1] == ["LIST"]:
            return fields, [line.strip() for line in lines[index + 1 :] if line.strip()]
    return fields, []


def _dtype(fields: Mapping[str, str]) -> np.dtype:
    stated = " ".join(fields.get("type", "").lower().split())
    code = next((code for code, names in _TYPES.items() if stated in names), None)
    if code is None:
        raise ValueError(f"type {stated!r} is not a number's")
    endian = fields.get("endian", "").lower()
    is_text = _ENCODINGS.get(fields.get("encoding", "").lower()) == "text"
    if endian not in ("little", "big") and (endian or not (is_text or code.endswith("1"))):
        raise ValueError(f"endian should be little or big, not {endian!r}")
    return np.dtype(code).newbyteorder(">" if endian == "big" else "<")


def _space(
    fields: Mapping[str, str], dimension: int, path: Path
) -> tuple[list[np.ndarray | None], np.ndarray, tuple[str, ...]]:
    """Step of each axis in LPS mm (3,), None of axes not in space; origin in LPS mm; and doubts.

    Without a space, each axis gets its own coordinate.
    """
    space = fields.get("space", "").lower()
    if not space and "spacedimension" not in fields:
        return _without_space(fields, dimension, path)
    signs = np.ones(3)
    remarks: tuple[str, ...] = ()
    patient = re.sub(r"(-time|(?<=^...)t)$", "", space)
    if patient in _TO_LPS:
        signs = np.array(_TO_LPS[patient], float)
        width = 3 if patient == space else 4
    elif space in _SCANNER_SPACES or not space:
        width = _SCANNER_SPACES.get(space) or whole_number(
            fields.get("spacedimension", ""), "space dimension", 1, 8
        )
        remarks = (_NO_SPACE,)
    else:
        raise ValueError(f"space {space!r} is unknown")
    _refuse_other_units(fields.get("spaceunits", ""), path)
    steps: list[np.ndarray | None] = []
    for word in _vectors(fields.get("spacedirections", "")):
        if word == "none":
            steps.append(None)
        else:
            steps.append(_in_lps(word, width, signs))
    if len(steps) != dimension:
        raise ValueError(f"{len(steps)} space directions for {dimension} axes")
    origin = np.zeros(3)
    if "spaceorigin" in fields:
        (word,) = _vectors(fields["spaceorigin"]) or [""]
        origin = _in_lps(word, width, signs)
    return steps, origin, remarks


def _in_lps(text: str, width: int, signs: np.ndarray) -> np.ndarray:
    vector = np.zeros(3)
    values = numbers(text, width, "a vector")[:3]
    vector[: len(values)] = values
    return vector * signs


def _without_space(
    fields: Mapping[str, str], dimension: int, path: Path
) -> tuple[list[np.ndarray | None], np.ndarray, tuple[str, ...]]:
    remarks = [_NO_SPACE]
    if {"axismins", "axismaxs"} & fields.keys():
        raise UserError(
            f"{path}: the header places its axes by axis mins or axis maxs, without a space of the "
            "patient. Save it with a space, space directions and space origin."
        )
    kinds = _kinds(fields, dimension)
    words = fields["spacings"].split() if "spacings" in fields else ["1"] * dimension
    if "spacings" not in fields:
        remarks.append("The header states no voxel size; 1 mm was assumed.")
    if len(words) != dimension:
        raise ValueError(f"{len(words)} spacings for {dimension} axes")
    steps: list[np.ndarray | None] = []
    column = 0
    for word, kind in zip(words, kinds, strict=True):
        if kind not in _DOMAIN_KINDS:
            steps.append(None)
            continue
        step = np.zeros(3)
        if column < 3:
            step[column] = numbers(word, 1, "spacings")[0]
        steps.append(step)
        column += 1
    return steps, np.zeros(3), tuple(remarks)


def _kinds(fields: Mapping[str, str], dimension: int) -> list[str]:
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * dimension
    if len(kinds) != dimension:
        raise ValueError(f"{len(kinds)} kinds for {dimension} axes")
    return kinds


def _spatial_axes(
    shape: tuple[int, ...], steps: Sequence[np.ndarray | None], path: Path
) -> list[int]:
    """Axes in space; the others have one value each.

    Raises:
        UserError: a voxel holds several numbers.
    """
    axes = [axis for axis, step in enumerate(steps) if step is not None]
    several = [shape[axis] for axis in range(len(shape)) if axis not in axes and shape[axis] > 1]
    if several:
        raise UserError(
            f"{path}: {several[0]} numbers a voxel (a colour image, vectors or a time series), not "
            "a CT. Convert the original series."
        )
    return axes


def _vectors(text: str) -> list[str]:
    """Words of a field of vectors: "none", or the numbers between brackets."""
    words = re.findall(r"none|\([^()]*\)", text)
    if "".join(words).replace(" ", "") != re.sub(r"\s", "", text):
        raise ValueError(f"{text[:80]!r} is not a list of vectors")
    return [word.strip("()") for word in words]


def _refuse_other_units(text: str, path: Path) -> None:
    units = {unit.lower() for unit in re.findall(r'"([^"]*)"', text)}
    if other := sorted(units & _OTHER_UNITS):
        raise UserError(f"{path}: the header states its lengths in {other[0]}. Give a file in mm.")


def _files(
    fields: Mapping[str, str], listed: list[str], path: Path, shape: tuple[int, ...]
) -> tuple[Path, ...]:
    if "datafile" not in fields:
        return (path,)
    names, stated = nrrd_names(fields["datafile"], listed)
    if stated is None:
        return data_files(path, names)
    axes_of_file = whole_number(stated or str(len(shape) - 1), "data file", 1, len(shape))
    slabs = axes_of_file == len(shape) and len(names) and shape[-1] % len(names) == 0
    if not slabs and len(names) != math.prod(shape[axes_of_file:]):
        raise ValueError(f"{len(names)} data files for {shape} voxels")
    return data_files(path, names)


def _skipped(
    fields: Mapping[str, str], files: tuple[Path, ...], start: int, encoding: str
) -> tuple[int, bool, int]:
    """Bytes before the data of each file, whether these are its last, and unpacked bytes before."""
    lines = whole_number(fields.get("lineskip", "0"), "line skip", 0, 1 << 20)
    count = whole_number(fields.get("byteskip", "0"), "byte skip", -1, 1 << 40)
    offset = start + (_bytes_of_lines(files, start, lines) if lines else 0)
    if encoding in ("gzip", "bzip2"):
        if count < 0:
            raise ValueError("byte skip -1 with compressed data")
        return offset, False, whole_number(str(count), "byte skip", 0, LONGEST_HEADER)
    return offset + max(count, 0), count < 0, 0


def _bytes_of_lines(files: tuple[Path, ...], start: int, lines: int) -> int:
    if len(files) > 1:
        raise ValueError("line skip with several data files is not supported")
    with open_stream(files[0], "raw", start) as stream:
        parts = stream.read(LONGEST_HEADER).split(b"\n", lines)
    if len(parts) <= lines:
        raise ValueError(f"fewer than {lines} lines before the data")
    return sum(len(part) + 1 for part in parts[:lines])
