"""Stored values of DICOM slices to HU.

pydicom decodes what is stored plainly or by run lengths; JPEG, JPEG-LS and JPEG 2000 go through
GDCM, which comes with SimpleITK, so that no other codec has to be installed. Stored values become
HU here alone, whatever the compression.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pydicom import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from vertseg.core.errors import UserError
from vertseg.core.progress import progress
from vertseg.scans.dicom.files import Instance, Source, damaged, frame_count, read_dataset
from vertseg.scans.dicom.gdcm import Decoder, UndecodableError
from vertseg.scans.dicom.stack import Frame
from vertseg.scans.volumes import AIR_HU

PLAUSIBLE_HU = (-1000, 4000)
"""Range of HU in which a stated padding value is ignored, since it would turn tissue into air."""

_UNCOMPRESSED = (
    "Store the series uncompressed first, for example with `gdcmconv --raw` or `dcmdjpeg`."
)
_DECODED_BY_PYDICOM = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)
_INT16 = np.iinfo(np.int16)
_INT32 = np.iinfo(np.int32)


def read_voxels(
    source: Source, instances: Sequence[Instance], frames: Sequence[Frame]
) -> np.ndarray:
    """Read slices, one file after the other, into one array.

    HU are rounded to whole numbers, far below a scan's noise. Padding outside the scanner's circle
    and values below -1024 HU become air; values above int16 become its largest value.

    Args:
        source: the folder or archive.
        instances: the series' files.
        frames: its slices in order.

    Returns:
        HU, (columns, rows, slices), int16.

    Raises:
        UserError: a file is damaged or cannot be decoded.
    """
    rows, columns = frames[0].shape
    array = np.empty((len(frames), rows, columns), np.int16)
    files: dict[int, dict[int, int]] = {}
    for place, frame in enumerate(frames):
        files.setdefault(frame.instance, {})[frame.index] = place
    with Decoder() as decoder:
        for number, places in progress(files.items(), f"reading {source.path.name}"):
            name = instances[number].name
            in_file = sorted(places)
            own = [frames[places[index]] for index in in_file]
            for index, hu in zip(in_file, _slices(source, name, own, decoder), strict=True):
                if hu.shape != (rows, columns):
                    raise damaged(source, name, f"slice {index + 1} has shape {hu.shape}")
                array[places[index]] = hu
    return array.transpose(2, 1, 0)


def _slices(
    source: Source, name: str, frames: Sequence[Frame], decoder: Decoder
) -> Iterator[np.ndarray]:
    """The slices of a file in HU, int16, in the file's order."""
    dataset = read_dataset(source, name)
    if not dataset.get("PixelData"):
        raise damaged(source, name, "it holds no voxels")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_transfer_syntax and not syntax.is_private:
        raise damaged(source, name, f"its transfer syntax is {syntax}")
    slices: Iterable[np.ndarray]
    if syntax in _DECODED_BY_PYDICOM:
        slices = _decode_with_pydicom(source, name, dataset)
    else:
        slices = _decode_with_gdcm(source, name, dataset, syntax, decoder)
    count = 0
    for stored, frame in zip(slices, frames, strict=False):
        hu = _rescaled(stored, frame)
        padding = _padding_hu(dataset, frame)
        if padding is not None:
            hu[(hu >= padding[0]) & (hu <= padding[1])] = AIR_HU
        if hu.dtype.kind == "f":
            np.rint(hu, out=hu)
        yield np.clip(hu, AIR_HU, _INT16.max, out=hu).astype(np.int16, copy=False)
        count += 1
    if count < len(frames):
        raise damaged(source, name, f"it holds {count} slices instead of {len(frames)}")


def _decode_with_pydicom(source: Source, name: str, dataset: Dataset) -> Iterator[np.ndarray]:
    # pydicom raises nearly any exception on damaged data.
    try:
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            _refuse_surplus(dataset)
        yield from iter_pixels(dataset, raw=True)
    except Exception as error:
        raise damaged(source, name, error) from error


def _refuse_surplus(dataset: Dataset) -> None:
    """Refuse voxels beyond those that the header states, since the header may be wrong.

    Raises:
        ValueError: there is at least a row more.
    """
    row = dataset.Columns * dataset.BitsAllocated // 8
    stated = row * dataset.Rows * frame_count(dataset)
    if len(dataset.PixelData) >= stated + max(row, 2):
        raise ValueError(
            f"{len(dataset.PixelData)} bytes of voxels, but its header states {stated}"
        )


def _rescaled(stored: np.ndarray, frame: Frame) -> np.ndarray:
    whole = frame.slope.is_integer() and frame.intercept.is_integer()
    if whole and stored.dtype.kind in "iu":
        ends = np.iinfo(stored.dtype)
        largest = max(abs(ends.min), ends.max) * abs(frame.slope) + abs(frame.intercept)
        if largest <= _INT32.max:
            return stored.astype(np.int32) * int(frame.slope) + int(frame.intercept)
    return stored * np.float64(frame.slope) + frame.intercept


def _decode_with_gdcm(
    source: Source, name: str, dataset: Dataset, syntax: UID, decoder: Decoder
) -> np.ndarray:
    try:
        return decoder.decode(dataset, syntax)
    except UndecodableError as error:
        raise UserError(
            f"{source.path}: {name} cannot be decoded: it is damaged, or its compression "
            f"({syntax.name}) is not supported. {_UNCOMPRESSED}"
        ) from error
    except Exception as error:
        raise damaged(source, name, error) from error


def _padding_hu(dataset: Dataset, frame: Frame) -> tuple[float, float] | None:
    """Smallest and largest HU that mark voxels outside the scanner's circle."""
    try:
        value = float(dataset["PixelPaddingValue"].value)
        limit = dataset.get("PixelPaddingRangeLimit")
        edges = (value, value if limit is None else float(limit))
    except Exception:  # missing, or a value that pydicom cannot convert: nothing is padding
        return None
    low, high = sorted(edge * frame.slope + frame.intercept for edge in edges)
    believable = high < PLAUSIBLE_HU[0] or low > PLAUSIBLE_HU[1]
    return (low, high) if believable else None
