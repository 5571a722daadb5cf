"""Images as headers of MetaImage and NRRD state them, and the numbers of such headers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


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
