"""Images as headers of MetaImage and NRRD state them, and the numbers of such headers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vertseg.core.errors import UserError

LONGEST_HEADER = 1 << 20
"""Largest size of a header in bytes."""
MOST_FILES = 20_000
"""Largest number of data files of one header."""


@dataclass(frozen=True)
class StoredImage:
    """An image as its header states it.

    Attributes:
        shape: voxels along all axes, the fastest first.
        dtype: of the voxels, with their byte order.
        affine: voxel to LPS mm (4, 4), of the three spatial axes.
        files: files of the voxels, each with an equal part.
        encoding: "raw", "gzip", "bzip2", "zlib", "text" or "hex".
        offset: bytes before the voxels in each file.
        at_end: whether the voxels are the last bytes of each file, whatever the offset.
        unpacked_offset: bytes to pass over after decompression.
        remarks: doubts about the header, in plain words.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray
    files: tuple[Path, ...]
    encoding: str
    offset: int = 0
    at_end: bool = False
    unpacked_offset: int = 0
    remarks: tuple[str, ...] = ()


def numbers(text: str, count: int, name: str) -> np.ndarray:
    """A field's numbers.

    Raises:
        ValueError: their number is another, or one is not finite.
    """
    values = np.array([float(word) for word in text.replace(",", " ").split()])
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{name} should be {count} numbers, not {text!r}")
    return values


def sides(text: str, count: int, name: str) -> tuple[int, ...]:
    """A field's lengths of axes.

    Raises:
        ValueError: their number is another, or one is not a positive whole number.
    """
    words = text.replace(",", " ").split()
    if len(words) != count or not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(f"{name} should be {count} whole numbers above 0, not {text!r}")
    return tuple(int(word) for word in words)


def whole_number(text: str, name: str, low: int, high: int) -> int:
    """A field's whole number.

    Raises:
        ValueError: it is not one, or out of bounds.
    """
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ValueError(f"{name} should be a whole number from {low} to {high}, not {text!r}")
    return value


def data_files(header: Path, names: list[str]) -> tuple[Path, ...]:
    """Paths of data files named relative to their header.

    Raises:
        UserError: there are too many.
    """
    if not 0 < len(names) <= MOST_FILES:
        raise UserError(f"{header}: the header names {len(names)} data files, not one scan's.")
    return tuple(header.parent / name for name in names)


def numbered_names(pattern: str, first: int, last: int, step: int) -> list[str]:
    """Names of data files by a pattern with one number, as in `slice%03d.raw`.

    Raises:
        ValueError: the pattern is invalid.
    """
    before, mark, after = pattern.partition("%")
    digits, letter, rest = after.partition("d")
    if not mark or not letter or "%" in rest or not (digits == "" or digits.isdecimal()):
        raise ValueError(f"{pattern!r} is not a pattern of file names")
    width = whole_number(digits or "0", "the pattern's width", 0, 20)
    fill = "0" if digits.startswith("0") else " "
    if step == 0 or (last - first) * step < 0 or abs((last - first) // step) > MOST_FILES:
        raise ValueError(f"no files from {first} to {last} by {step}")
    end = last + (1 if step > 0 else -1)
    return [f"{before}{str(number).rjust(width, fill)}{rest}" for number in range(first, end, step)]
