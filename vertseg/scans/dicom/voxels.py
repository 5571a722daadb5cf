"""Stored values of DICOM slices to HU.

pydicom decodes what is stored plainly or by run lengths; JPEG, JPEG-LS and JPEG 2000 go through
GDCM, which comes with SimpleITK, so that no other codec has to be installed. GDCM is given a file
without rescaling and as MONOCHROME2, since it would turn MONOCHROME1 around. Stored values become
HU here alone, whatever the compression.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.pixels import iter_pixels
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from vertseg.core.errors import UserError
from vertseg.core.progress import progress
from vertseg.scans.dicom.files import Instance, Source, damaged, frame_count, read_dataset
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
_PIXEL_ELEMENTS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
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
    for number, places in progress(files.items(), f"reading {source.path.name}"):
        name = instances[number].name
        in_file = sorted(places)
        own = [frames[places[index]] for index in in_file]
        for index, hu in zip(in_file, _slices(source, name, own), strict=True):
            if hu.shape != (rows, columns):
                raise damaged(source, name, f"slice {index + 1} has shape {hu.shape}")
            array[places[index]] = hu
    return array.transpose(2, 1, 0)


def _slices(source: Source, name: str, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """The slices of a file in HU, int16, in the file's order."""
    dataset = read_dataset(source, name)
    if not dataset.get("PixelData"):
        raise damaged(source, name, "it holds no voxels")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_transfer_syntax and not syntax.is_private:
        raise damaged(source, name, f"its transfer syntax is {syntax}")
    if syntax in _DECODED_BY_PYDICOM:
        slices = _decode_with_pydicom(source, name, dataset)
    else:
        slices = _decode_with_gdcm(source, name, dataset, syntax)
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
    source: Source, name: str, dataset: Dataset, syntax: UID
) -> Iterator[np.ndarray]:
    import SimpleITK as sitk  # noqa: N813

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "slices.dcm")
        try:
            _voxels_alone(dataset, syntax).save_as(path, enforce_file_format=True)
        except Exception as error:
            raise damaged(source, name, error) from error
        try:
            slices = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError as error:
            raise UserError(
                f"{source.path}: {name} cannot be decoded: it is damaged, or its compression "
                f"({syntax.name}) is not supported. {_UNCOMPRESSED}"
            ) from error
    yield from slices


def _voxels_alone(dataset: Dataset, syntax: UID) -> Dataset:
    """A data set of the same compressed voxels whose decoded values are the stored ones."""
    alone = Dataset()
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = syntax
    alone.SOPClassUID, alone.SOPInstanceUID = CTImageStorage, generate_uid()
    for keyword in _PIXEL_ELEMENTS:
        setattr(alone, keyword, int(dataset[keyword].value))
    alone.NumberOfFrames = frame_count(dataset)
    alone.SamplesPerPixel, alone.PhotometricInterpretation = 1, "MONOCHROME2"
    alone.add_new("PixelData", "OB", dataset.PixelData)
    alone["PixelData"].is_undefined_length = True
    return alone


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
