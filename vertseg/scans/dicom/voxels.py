"""Stored values of DICOM slices to HU.

pydicom decodes what is stored plainly or by run lengths; JPEG, JPEG-LS and JPEG 2000 go through
GDCM, which comes with SimpleITK, so that no other codec has to be installed.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import RLELossless

from vertseg.core.errors import UserError
from vertseg.core.progress import progress
from vertseg.scans.dicom.files import Instance, Source, damaged, read_dataset
from vertseg.scans.dicom.stack import Frame
from vertseg.scans.volumes import AIR_HU

PLAUSIBLE_HU = (-1000, 4000)
"""Range of HU in which a stated padding value is ignored, since it would turn tissue into air."""

_UNCOMPRESSED = (
    "Store the series uncompressed first, for example with `gdcmconv --raw` or `dcmdjpeg`."
)
_INT16 = np.iinfo(np.int16)


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
    if "PixelData" not in dataset:
        raise damaged(source, name, "it holds no voxels")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated and syntax != RLELossless:
        if len({(frame.slope, frame.intercept) for frame in frames}) > 1:
            raise UserError(
                f"{source.path}: {name} is compressed and its slices differ in rescaling, which is "
                f"not supported. {_UNCOMPRESSED}"
            )
        slices = _decode_with_gdcm(source, name, syntax.name)
    else:
        slices = _decode_with_pydicom(source, name, dataset, frames)
    for frame in frames:
        hu = next(slices, None)
        if hu is None:
            raise damaged(source, name, f"it holds fewer than {len(frames)} slices")
        padding = _padding_hu(dataset, frame)
        if padding is not None:
            hu[(hu >= padding[0]) & (hu <= padding[1])] = AIR_HU
        if hu.dtype.kind == "f":
            np.rint(hu, out=hu)
        yield np.clip(hu, AIR_HU, _INT16.max, out=hu).astype(np.int16, copy=False)


def _decode_with_pydicom(
    source: Source, name: str, dataset: Dataset, frames: Sequence[Frame]
) -> Iterator[np.ndarray]:
    try:
        for stored, frame in zip(iter_pixels(dataset, raw=True), frames, strict=False):
            yield _rescaled(stored, frame)
    except (AttributeError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise damaged(source, name, error) from error


def _rescaled(stored: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.slope.is_integer() and frame.intercept.is_integer():
        return stored.astype(np.int32) * int(frame.slope) + int(frame.intercept)
    return stored * np.float64(frame.slope) + frame.intercept


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
                f"({syntax}) is not supported. {_UNCOMPRESSED}"
            ) from error
    for one in slices:
        yield one.astype(np.float64 if one.dtype.kind == "f" else np.int32)


def _padding_hu(dataset: Dataset, frame: Frame) -> tuple[float, float] | None:
    """Smallest and largest HU that mark voxels outside the scanner's circle."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted(edge * frame.slope + frame.intercept for edge in (value, limit))
    believable = high < PLAUSIBLE_HU[0] or low > PLAUSIBLE_HU[1]
    return (low, high) if believable else None
