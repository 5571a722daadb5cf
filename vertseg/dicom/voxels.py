"""Stored values of DICOM slices to HU.

pydicom decodes what is stored plainly or by run lengths; JPEG, JPEG-LS and JPEG 2000 go through
GDCM, which comes with SimpleITK, so that no further codec need be installed.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import RLELossless

from vertseg.dicom.files import Instance, Source, damaged, read_dataset
from vertseg.dicom.stack import Frame
from vertseg.errors import UserError
from vertseg.logs import progress
from vertseg.volumes import AIR_HU

PLAUSIBLE_HU = (-1000, 4000)
"""Padding that would read as such HU is not believed: it would turn tissue into air."""

_INT16 = np.iinfo(np.int16)


def read_voxels(
    source: Source, instances: Sequence[Instance], frames: Sequence[Frame]
) -> np.ndarray:
    """Read slices, one file after the other, into one array.

    HU are rounded to whole numbers, far below a scan's noise. Padding outside the scanner's circle
    and all below -1024 HU become air; what exceeds int16 becomes its largest value.

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
        own = {index: frames[place] for index, place in places.items()}
        index = -1
        for index, hu in enumerate(_slices(source, name, own)):
            if index not in places or hu.shape != (rows, columns):
                raise damaged(source, name, f"slice {index + 1} has shape {hu.shape}")
            array[places[index]] = hu
        if index + 1 != len(places):
            raise damaged(source, name, f"{index + 1} slices instead of {len(places)}")
    return array.transpose(2, 1, 0)


def _slices(source: Source, name: str, frames: dict[int, Frame]) -> Iterator[np.ndarray]:
    """The slices of a file in HU, int16, in the file's order."""
    dataset = read_dataset(source, name)
    if "PixelData" not in dataset:
        raise damaged(source, name, "it holds no voxels")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated and syntax != RLELossless:
        slices = _decode_with_gdcm(source, name, syntax.name)
    else:
        slices = _decode_with_pydicom(source, name, dataset, frames)
    for frame, hu in zip(frames.values(), slices, strict=False):
        padding = _padding_hu(dataset, frame)
        if padding is not None:
            hu[(hu >= padding[0]) & (hu <= padding[1])] = AIR_HU
        yield np.rint(hu).clip(AIR_HU, _INT16.max).astype(np.int16)


def _decode_with_pydicom(
    source: Source, name: str, dataset: Dataset, frames: dict[int, Frame]
) -> Iterator[np.ndarray]:
    try:
        for index, stored in enumerate(iter_pixels(dataset, raw=True)):
            yield _rescaled(stored, frames[index])
    except (AttributeError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise damaged(source, name, error) from error


def _rescaled(stored: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.slope.is_integer() and frame.intercept.is_integer():
        return stored.astype(np.int32) * int(frame.slope) + int(frame.intercept)
    return stored.astype(np.float64) * frame.slope + frame.intercept


def _decode_with_gdcm(source: Source, name: str, syntax: str) -> Iterator[np.ndarray]:
    import SimpleITK as sitk  # noqa: N813

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "slices.dcm")
        path.write_bytes(source.read(name))
        try:
            slices = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError as error:
            raise UserError(
                f"{source.path}: {name} cannot be decoded: it is damaged, or its compression "
                f"({syntax}) is not supported. Store the series uncompressed first, for example "
                "with `gdcmconv --raw` or dcmtk's `dcmdjpeg`."
            ) from error
    yield from slices


def _padding_hu(dataset: Dataset, frame: Frame) -> tuple[float, float] | None:
    """Smallest and largest HU that mark voxels outside the scanner's circle."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted(edge * frame.slope + frame.intercept for edge in (value, limit))
    believable = high < PLAUSIBLE_HU[0] or low > PLAUSIBLE_HU[1]
    return (low, high) if believable else None
