"""Read one CT series of a DICOM folder or zip archive.

A folder often holds more than the scan: localisers, dose sheets, other series. The one CT series
that forms a volume is taken, and the log names the others. Several such series are an error that
asks the user to choose.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.scans.dicom.files import (
    Folder,
    Instance,
    Source,
    is_dicom,
    open_source,
    read_header,
    read_instances,
)
from vertseg.scans.dicom.stack import Frame, frames_of, stack
from vertseg.scans.dicom.voxels import read_voxels
from vertseg.scans.volumes import Volume, canonical_volume


@dataclass(frozen=True)
class DicomSeries:
    """The DICOM series of a volume, for objects that refer to it.

    Attributes:
        headers: the files' data sets without voxels; one a slice, or one multi-frame file.
        frames: the slices in the order of the native grid's last axis.
        description: for messages.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[Frame, ...]
    description: str


def read_series(path: str | os.PathLike[str]) -> tuple[Volume, DicomSeries]:
    """Read the CT series of a folder (with those below it), a zip archive, or around one file.

    In a folder with several series, the path of one file chooses the series.

    Returns:
        The volume, int16 HU, its native grid (columns, rows, slices along the slices' normal).

    Raises:
        UserError: there is no CT series, or several; its slices do not form a volume (see
            `stack`); a file is damaged or its compression is not supported.
    """
    path = Path(path)
    if path.is_dir() or not is_dicom(path):
        with open_source(path) as source:
            return _read(source, None)
    folder = Folder(path.parent, deep=False)
    header = read_header(folder, path.name)
    if header is None:
        raise UserError(f"{path}: not an image (a DICOMDIR?). Give the folder of one CT series.")
    return _read(folder, _series_uid(header))


def _read(source: Source, uid: str | None) -> tuple[Volume, DicomSeries]:
    instances, others = read_instances(source)
    if not instances:
        raise UserError(
            f"{source.path}: no DICOM image among its {len(others)} files. Give a folder or zip "
            "archive of one CT series, or the path of a single NIfTI, NRRD or MHA file."
        )
    if others:
        logger.info("%s: %d files that are not DICOM passed over.", source.path, len(others))
    found = _choose(source, _by_series(instances), uid)
    name = f"{source.path}: series {describe(found)}"
    headers = [instance.header for instance in found]
    frames, native = stack(frames_of(headers, [i.name for i in found], name), name)
    array = read_voxels(source, found, frames)
    volume = canonical_volume(array, native)
    return volume, DicomSeries(tuple(headers), tuple(frames), describe(found))


def describe(series: Sequence[Instance]) -> str:
    """A series' number, description and size, as a radiographer would name it."""
    header = series[0].header
    number, text = header.get("SeriesNumber"), str(header.get("SeriesDescription", "")).strip()
    label = " ".join(str(part) for part in (number, repr(text) if text else None) if part)
    return f"{label or 'without number'} ({_modality(header)}, {_images(series)} images)"


def _by_series(instances: Sequence[Instance]) -> list[list[Instance]]:
    series: dict[str, list[Instance]] = {}
    for instance in instances:
        series.setdefault(_series_uid(instance.header), []).append(instance)
    return list(series.values())


def _series_uid(header: Dataset) -> str:
    return str(header.get("SeriesInstanceUID", ""))


def _choose(source: Source, series: list[list[Instance]], uid: str | None) -> list[Instance]:
    """The files of the one series that forms a CT volume; with `uid`, of that series only."""
    volumes: list[list[Instance]] = []
    passed_over: list[str] = []
    for one in series:
        if uid is not None and _series_uid(one[0].header) != uid:
            continue
        usable = [instance for instance in one if not _unusable_reason(instance.header)]
        unusable = [instance for instance in one if _unusable_reason(instance.header)]
        if _images(usable) < 2:
            passed_over.append(f"{describe(one)}: {_reasons(one)}")
            continue
        volumes.append(usable)
        if unusable:
            logger.warning(
                "%s: series %s taken without %d images of it: %s.",
                source.path,
                describe(usable),
                _images(unusable),
                _reasons(unusable),
            )
    if not volumes:
        listed = _listed(passed_over)
        raise UserError(f"{source.path}: no CT volume here, only\n  {listed}\n{_GIVE_ONE}")
    if len(volumes) > 1:
        listed = _listed([f"{describe(one)}: {source.path / one[0].name}" for one in volumes])
        raise UserError(
            f"{source.path}: {len(volumes)} CT series here, and any could be meant:\n  {listed}\n"
            "Give the path of one of these files (of an archive: unpack it first), or a folder "
            "that holds only one series."
        )
    for reason in passed_over:
        logger.info("%s: passed over: series %s.", source.path, reason)
    return volumes[0]


_MOST_LISTED = 20
_GIVE_ONE = "Give the folder of a CT series with all its slices."


def _unusable_reason(header: Dataset) -> str | None:
    """Reason for which a DICOM file is not a slice of a CT volume, or None."""
    if "Rows" not in header:
        return "not an image"
    if header.get("Modality") != "CT":
        return f"modality {_modality(header)}, not CT"
    if header.get("SamplesPerPixel", 1) != 1:
        return "a colour image"
    if "LOCALIZER" in (header.get("ImageType") or []):
        return "a localiser"
    if "PerFrameFunctionalGroupsSequence" in header or "ImagePositionPatient" in header:
        return None
    kind = UID(str(header.get("SOPClassUID", ""))).name
    return f"{kind} without a position in the patient"


def _reasons(series: Sequence[Instance]) -> str:
    reasons = Counter(_unusable_reason(i.header) or "a single slice" for i in series)
    return ", ".join(reason for reason, _ in reasons.most_common())


def _listed(lines: Sequence[str]) -> str:
    shown = list(lines[:_MOST_LISTED])
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    return "\n  ".join(shown)


def _modality(header: Dataset) -> str:
    return str(header.get("Modality") or "unknown")


def _images(series: Sequence[Instance]) -> int:
    return sum(int(instance.header.get("NumberOfFrames") or 1) for instance in series)
