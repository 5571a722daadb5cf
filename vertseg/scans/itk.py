"""NRRD and MetaImage files, the formats of ITK, read without ITK.

ITK compares no checksum of compressed voxels, and can be crashed by damaged headers.
"""

import math
from pathlib import Path
from typing import IO

import numpy as np

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.scans import metaimage, nrrd
from vertseg.scans.find import file_suffix
from vertseg.scans.stored import StoredImage
from vertseg.scans.streams import check_regular, errors_named, fill, open_stream, read_to_end
from vertseg.scans.volumes import (
    Geometry,
    Volume,
    canonical_volume,
    check_extent,
    check_size,
    checked_affine,
    checked_shape,
    finite_hu,
)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SLAB_VOXELS = 1 << 23
_MOST_TEXT = 40
"""Largest number of characters of a voxel written as text."""


def load_itk_ct(path: Path) -> Volume:
    """Read a CT with its numbers as stored; voxels that are not finite become air.

    Raises:
        UserError: the file is unreadable, truncated or damaged, not a 3-D grey-value image, or has
            no usable geometry.
    """
    check_regular(path)
    is_nrrd = file_suffix(path) in (".nrrd", ".nhdr")
    with errors_named(path):
        image = nrrd.read_header(path) if is_nrrd else metaimage.read_header(path)
        shape = checked_shape(image.shape, path)
        check_size(math.prod(shape), image.dtype.itemsize, path)
        affine = checked_affine(_LPS_TO_RAS @ image.affine, path)
        check_extent(shape, affine, path)
        array = _voxels(image, shape, path)
    for remark in image.remarks:
        logger.warning("%s: %s", path, remark)
    return canonical_volume(finite_hu(array, path), Geometry(shape, affine), image.remarks)


def _voxels(image: StoredImage, shape: tuple[int, int, int], path: Path) -> np.ndarray:
    """Voxels (i, j, k) in the machine's byte order; those in double precision as float32."""
    native = image.dtype.newbyteorder("=")
    voxels = np.empty(shape, np.float32 if native == np.float64 else native, order="F")
    flat = voxels.reshape(-1, order="F")
    share, rest = divmod(flat.size, len(image.files))
    if rest:
        raise UserError(
            f"{path}: its {len(image.files)} data files cannot hold equal parts of {flat.size} "
            "voxels. One may be missing: copy or download the scan again."
        )
    for index, file in enumerate(image.files):
        if not file.is_file():
            raise UserError(
                f"{path}: its data file {file.name} is missing or not a regular file. Copy it to "
                f"{file.parent}."
            )
        _read_part(image, file, flat[index * share : (index + 1) * share], path)
    return voxels


def _read_part(image: StoredImage, file: Path, part: np.ndarray, path: Path) -> None:
    if image.encoding in ("text", "hex"):
        part[:] = _from_text(image, file, part.size)
        return
    packed = image.encoding != "raw"
    skip = image.offset
    if image.at_end:
        check_regular(file)
        skip = max(file.stat().st_size - part.size * image.dtype.itemsize, 0)
    with open_stream(file, image.encoding, skip) as stream:
        if image.unpacked_offset:
            fill(stream, memoryview(bytearray(image.unpacked_offset)))
        _fill_array(stream, image.dtype, part)
        if packed and (extra := read_to_end(stream, path)):
            raise UserError(
                f"{path}: the data are {extra} bytes longer than the header states. The header "
                "may be damaged: convert the original series again."
            )


def _fill_array(stream: IO[bytes], dtype: np.dtype, part: np.ndarray) -> None:
    if part.dtype == dtype:
        fill(stream, memoryview(part.view(np.uint8)))  # type: ignore[arg-type]
        return
    slab = np.empty(min(_SLAB_VOXELS, part.size), dtype)
    for start in range(0, part.size, slab.size):
        taken = slab[: part.size - start]
        fill(stream, memoryview(taken.view(np.uint8)))  # type: ignore[arg-type]
        with np.errstate(over="ignore", invalid="ignore"):
            part[start : start + taken.size] = taken


def _from_text(image: StoredImage, file: Path, count: int) -> np.ndarray:
    """Numbers written as text, or as the hexadecimal digits of their bytes."""
    with open_stream(file, "raw", image.offset) as stream:
        text = stream.read(count * _MOST_TEXT + 1)
    if len(text) > count * _MOST_TEXT:
        raise ValueError(f"more text than {count} voxels have")
    if image.encoding == "hex":
        content = bytes.fromhex(text.decode("ascii"))
        return np.frombuffer(content, image.dtype, count)
    words = text.replace(b",", b" ").split()
    if len(words) < count:
        raise EOFError(f"{len(words)} of {count} voxels")
    if image.dtype.kind == "f":
        return np.array(words[:count], np.float64)
    numbers = np.array([int(word) for word in words[:count]], object)
    ends = np.iinfo(image.dtype)
    if numbers.min() < ends.min or numbers.max() > ends.max:
        raise ValueError(f"a voxel outside the range of {image.dtype.name}")
    return numbers.astype(image.dtype)
