"""The reader of a user's CT scan in any supported format.

Reading NIfTI, NRRD and MetaImage imports neither pydicom nor SimpleITK.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vertseg.core.errors import UserError
from vertseg.scans import zips
from vertseg.scans.find import FORMATS, ITK, NIFTI, absolute_path, file_suffix, scan_name
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.itk import load_itk_ct
from vertseg.scans.nifti import load_ct
from vertseg.scans.streams import check_regular
from vertseg.scans.time_limit import limited_time
from vertseg.scans.volumes import AIR_HU, Volume

if TYPE_CHECKING:
    from vertseg.scans.dicom.series import DicomSeries
    from vertseg.scans.dicom.tilt import Tilt


_WHOLE_IMAGES = (*NIFTI, ".nrrd", ".mha")
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Scan:
    """A CT to be segmented.

    Attributes:
        name: BIDS-like stem of the outputs' names.
        source: the path the user gave, absolute.
        volume: the CT, whole HU from -1024 upwards, int16.
        series: the scan's DICOM series; None for other formats.
    """

    name: str
    source: Path
    volume: Volume
    series: "DicomSeries | None" = None

    @property
    def tilt(self) -> "Tilt | None":
        """The tilt that the volume was resampled from; None if it is as stored."""
        return self.series.tilt if self.series else None

    @property
    def tube_voltage_kv(self) -> float | None:
        """The tube's peak voltage as the scan's DICOM header states it; None if it states none."""
        if not self.series:
            return None
        try:
            voltage = float(self.series.headers[0].get("KVP") or 0)
        except (TypeError, ValueError):
            return None
        return voltage if voltage > 0 else None


def read_scan(path: str | os.PathLike[str], name: str | None = None) -> Scan:
    """Read a CT scan: NIfTI, NRRD, MetaImage, a DICOM folder, one of its files, or a zip archive.

    Voxels become int16: fractions of an HU are rounded, values below -1024 HU (padding) become
    air, values above 32767 HU become 32767.

    Args:
        path: the file or folder.
        name: stem of the outputs' names; by default `scan_name(path)`.

    Raises:
        UserError: the input is unreadable, takes far too long (see `time_limit`), or is not a CT
            in HU on a straight grid.
    """
    path = absolute_path(path)
    if not os.path.exists(path):  # noqa: PTH110 - False, not an error, for impossible names
        raise UserError(f"{path}: no such file or folder. Check the path.")
    if not path.is_dir():
        check_regular(path)
    try:
        with limited_time(path):
            volume, series = _read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except MemoryError as error:
        raise UserError(f"{path}: too large for this machine's memory.") from error
    check_ct(volume, path)
    whole = replace(volume, array=_whole_hu(volume.array))
    return Scan(scan_name(path) if name is None else name, path, whole, series)


def _read(path: Path) -> "tuple[Volume, DicomSeries | None]":
    if file_suffix(path) in (*NIFTI, *ITK) and not path.is_dir():
        return _read_image(path), None
    if file_suffix(path) == ".zip" and not path.is_dir() and (image := _read_archived_image(path)):
        return image, None
    return _read_dicom(path)


def _read_image(path: Path) -> Volume:
    if file_suffix(path) in NIFTI:
        return load_ct(path)
    return load_itk_ct(path)


def _read_dicom(path: Path) -> "tuple[Volume, DicomSeries]":
    from vertseg.scans.dicom.files import is_dicom
    from vertseg.scans.dicom.series import read_series

    if path.is_file() and file_suffix(path) != ".zip" and not is_dicom(path):
        raise UserError(f"{path}: not a scan in a format that can be read. These are: {FORMATS}.")
    return read_series(path)


def _read_archived_image(path: Path) -> Volume | None:
    """The one NIfTI, NRRD or MetaImage file in a zip archive; None if it has none."""
    with zips.open_zip(path, zips.IMAGE) as archive:
        names = archive.names()
        images = [name for name in names if file_suffix(Path(name)) in _WHOLE_IMAGES]
        if not images:
            return None
        dicom = [name for name in names if Path(name).suffix.lower() in ("", ".dcm", ".ima")]
        if len(images) > 1 or dicom:
            raise UserError(
                f"{path}: the archive holds {len(images)} images ({', '.join(images[:5])})"
                f"{' and DICOM files' if dicom else ''}. Unpack it and give the one to be "
                "segmented."
            )
        return _read_member(archive, images[0])


def _read_member(archive: zips.Archive, member: str) -> Volume:
    """Read an image of a zip archive by way of a temporary file whose name is ours."""
    with tempfile.TemporaryDirectory(prefix="vertseg-") as folder:
        path = Path(folder, f"scan{file_suffix(Path(member))}")
        with archive.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        try:
            return _read_image(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), f"{archive.path}: {member}")) from error


def _whole_hu(array: np.ndarray) -> np.ndarray:
    """HU as int16; changes its argument, to hold few copies of a large scan."""
    if array.dtype == np.int16:
        return np.maximum(array, AIR_HU, out=array)
    if np.issubdtype(array.dtype, np.integer):
        ends = np.iinfo(array.dtype)
        return array.clip(max(AIR_HU, ends.min), min(_INT16.max, ends.max)).astype(np.int16)
    np.rint(array, out=array)
    np.clip(array, AIR_HU, _INT16.max, out=array)
    return array.astype(np.int16)
