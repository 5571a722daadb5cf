"""Headers of MetaImage files (.mha, .mhd).

Fields: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vertseg.core.errors import UserError
from vertseg.scans.data_files import (
    LAST_FIELD,
    LONGEST_HEADER,
    data_files,
    metaimage_names,
    whole_number,
)
from vertseg.scans.stored import StoredImage, numbers, sides

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_FIELD = re.compile(r"\s*([!-9;<>-~ ]+?)\s*[=:]\s*(.*?)\s*")


def read_header(path: Path) -> StoredImage:
    """The image that a MetaImage header states.

    Raises:
        UserError: it is not a grey-value image, or lists too many files.
        ValueError: the header is damaged.
    """
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if not (last := LAST_FIELD.search(start)):
        raise ValueError("it has no MetaImage header with ElementDataFile")
    fields = _fields(start[: last.end()].decode("latin-1"))
    dimension = whole_number(fields.get("NDims", ""), "NDims", 1, 10)
    channels = whole_number(
        fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", 1, 1 << 20
    )
    if channels != 1:
        raise UserError(
            f"{path}: {channels} numbers a voxel (a colour image or vectors), not a CT. Convert "
            "the original series."
        )
    shape = sides(fields.get("DimSize", ""), dimension, "DimSize")
    affine, remarks = _affine(fields, dimension)
    files, offset, at_end = _data(fields, path, start, last.end(), shape)
    encoding = _encoding(fields)
    if at_end and encoding != "raw":
        raise ValueError("HeaderSize -1 with other than raw data")
    return StoredImage(
        shape,
        _dtype(fields),
        affine,
        files,
        encoding,
        offset,
        at_end,
        remarks=remarks,
    )


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in filter(str.strip, text.split("\n")):
        if not (field := _FIELD.fullmatch(line)):
            raise ValueError(f"{line[:80]!r} is not a field of a MetaImage header")
        if fields.setdefault(field[1], field[2]) != field[2]:
            raise ValueError(f"it states {field[1]} twice")
    return fields


def _is_true(fields: Mapping[str, str], *names: str, default: bool = False) -> bool:
    """Value of a field that may have several names.

    Raises:
        ValueError: it is neither true nor false.
    """
    for name in names:
        if name in fields:
            known = {"true": True, "1": True, "false": False, "0": False}
            if fields[name].lower() not in known:
                raise ValueError(f"{name} should be True or False, not {fields[name]!r}")
            return known[fields[name].lower()]
    return default


def _dtype(fields: Mapping[str, str]) -> np.dtype:
    name = fields.get("ElementType", "")
    if name not in _TYPES:
        raise ValueError(f"ElementType {name!r} is not a number's")
    is_big = _is_true(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype(_TYPES[name]).newbyteorder(">" if is_big else "<")


def _encoding(fields: Mapping[str, str]) -> str:
    is_compressed = _is_true(fields, "CompressedData")
    if _is_true(fields, "BinaryData", default=True):
        return "zlib" if is_compressed else "raw"
    if is_compressed:
        raise ValueError("compressed text")
    return "text"


def _affine(fields: Mapping[str, str], dimension: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel to LPS mm (4, 4) of the first three axes, and doubts."""
    remarks = []
    spacing = next((n for n in ("ElementSpacing", "ElementSize") if n in fields), None)
    if spacing:
        size = numbers(fields[spacing], dimension, spacing)
    else:
        size = np.ones(dimension)
        remarks.append("The header states no voxel size; 1 mm was assumed.")
    if size.min() <= 0:
        raise ValueError(f"{spacing} should be above 0, not {fields[str(spacing)]!r}")
    direction, origin = np.eye(dimension), np.zeros(dimension)
    for name in ("TransformMatrix", "Rotation", "Orientation"):
        if name in fields:
            direction = numbers(fields[name], dimension**2, name).reshape(dimension, dimension).T
            break
    for name in ("Offset", "Position", "Origin"):
        if name in fields:
            origin = numbers(fields[name], dimension, name)
            break
    affine, used = np.eye(4), min(dimension, 3)
    affine[:used, :used] = (direction * size)[:used, :used]
    affine[:used, 3] = origin[:used]
    return affine, tuple(remarks)


def _data(
    fields: Mapping[str, str], path: Path, start: bytes, end: int, shape: tuple[int, ...]
) -> tuple[tuple[Path, ...], int, bool]:
    """Files of the voxels, bytes before these in each, and whether they are the last bytes."""
    skip = whole_number(fields.get("HeaderSize", "0"), "HeaderSize", -1, 1 << 40)
    names, stated = metaimage_names(fields["ElementDataFile"].encode("latin-1"), start[end:])
    if not names and stated is None:
        return (path,), skip if skip > 0 else end, skip == -1
    axes_of_file = len(shape)
    if stated is not None:
        default = str(len(shape) - 1)
        axes_of_file = whole_number(
            stated or default, "the number of axes of a data file", 1, len(shape)
        )
    if len(names) != math.prod(shape[axes_of_file:]):
        raise ValueError(f"{len(names)} data files for {shape} voxels")
    return data_files(path, names), max(skip, 0), skip == -1
