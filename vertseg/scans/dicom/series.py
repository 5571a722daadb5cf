"""Read one CT series of a DICOM folder or zip archive.

A folder often holds more than the scan: localisers, dose sheets, other series. The one CT series
that forms a volume is taken, and the log names the others. Several such series are an error that
asks the user to choose. Headers that contradict each other are refused, or mended with a warning
where they leave no doubt about the scan.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.scans.dicom.files import (
    PATIENT,
    Folder,
    Instance,
    Source,
    frame_count,
    is_dicom,
    open_source,
    read_header,
    read_instances,
    text,
)
from vertseg.scans.dicom.rounding import unrounded
from vertseg.scans.dicom.stack import (
    MODIFIED_HU,
    POSITION_TOLERANCE,
    Frame,
    frames_of,
    rescale_type,
    stack,
)
from vertseg.scans.dicom.tilt import Tilt
from vertseg.scans.dicom.voxels import read_voxels
from vertseg.scans.volumes import Geometry, Volume, canonical_volume, native_array


@dataclass(frozen=True)
class DicomSeries:
    """The DICOM series of a volume, for objects that refer to it.

    Attributes:
        headers: the files' data sets without voxels; one a slice, or one multi-frame file.
        frames: the slices in the order of the native grid's last axis, where their headers state.
        description: for messages.
        tilt: shift of the slices against the volume's straight grid; None without a tilt.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[Frame, ...]
    description: str
    tilt: Tilt | None = None

    def on_slices(self, label_map: np.ndarray, native: Geometry) -> np.ndarray:
        """A label map of the series' volume on the series' own slices.

        Args:
            label_map: values, canonical (x, y, z).
            native: the volume's grid.

        Returns:
            Values (slices, rows, columns), in the order of `frames`.
        """
        stored = native_array(label_map, native)
        return (self.tilt.on_slices(stored) if self.tilt else stored).transpose(2, 1, 0)


def read_series(path: str | os.PathLike[str]) -> tuple[Volume, DicomSeries]:
    """Read the CT series of a folder (with those below it), a zip archive, or around one file.

    In a folder with several series, the path of one file chooses the series.

    Returns:
        The volume, int16 HU, its native grid (columns, rows, slices along the slices' normal). That
        of a tilted gantry's series is resampled to a straight grid (see `Tilt`).

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
    by_series = _by_series(instances)
    found, remarks = _choose(source, by_series, uid)
    name = f"{source.path}: series {describe(found)}"
    headers = [instance.header for instance in found]
    _refuse_several_patients(found, name)
    remarks += _contradictions(headers)
    stated = frames_of(headers, [i.name for i in found], name)
    mended = unrounded(stated)
    remarks += [_ROUNDED] if mended else []
    frames, native, tilt = stack(mended or stated, name)
    names = {instance.name for instance in found}
    single = [one[0] for one in by_series if len(one) == 1 and one[0].name not in names]
    remarks += _beyond_the_ends(single, frames)
    for remark in remarks:
        logger.warning("%s: %s", name, remark)
    array = read_voxels(source, found, frames)
    if tilt:
        logger.warning(
            "%s: tilted by %.1f degrees; resampled to a straight grid.", name, tilt.degrees
        )
        array = tilt.straightened(array)
    volume = canonical_volume(array, native, tuple(remarks))
    places = {(frame.instance, frame.index): frame for frame in stated}
    as_stated = tuple(places[frame.instance, frame.index] for frame in frames)
    return volume, DicomSeries(tuple(headers), as_stated, describe(found), tilt)


def describe(series: Sequence[Instance]) -> str:
    """A series' number, description and size, as a radiographer would name it."""
    header = series[0].header
    name = text(header, "SeriesDescription")[:_LONGEST_NAME]
    label = " ".join(
        part for part in (text(header, "SeriesNumber")[:_LONGEST_NAME], name and repr(name)) if part
    )
    return f"{label or 'without number'} ({_modality(header)}, {_images(series)} images)"


def _by_series(instances: Sequence[Instance]) -> list[list[Instance]]:
    series: dict[str, list[Instance]] = {}
    for instance in instances:
        series.setdefault(_series_uid(instance.header), []).append(instance)
    return list(series.values())


def _series_uid(header: Dataset) -> str:
    return text(header, "SeriesInstanceUID")


def _refuse_several_patients(series: Sequence[Instance], name: str) -> None:
    """Refuse slices of different patients; the error names files, but no patient."""
    for keyword in PATIENT:
        first: tuple[str, str] | None = None
        for instance in series:
            value = text(instance.header, keyword).rstrip("^").casefold()
            if not value:
                continue
            if first is None:
                first = (value, instance.name)
            elif value != first[0]:
                raise UserError(
                    f"{name}: {first[1]} and {instance.name} state different patients "
                    f"({keyword}). Give a folder that holds one patient's scan."
                )


_MOST_OUTLIERS = 0.1
"""Largest share of a series' slices that counts as a few."""
_ALIKE = (
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
)
"""Elements that may differ between a series' slices, but seldom do in a few of them alone."""


def _contradictions(headers: Sequence[Dataset]) -> list[str]:
    """Remarks on values that contradict each other, but leave the volume certain."""
    remarks = []
    uids = [text(header, "SOPInstanceUID") for header in headers]
    if len(set(uids)) < len(uids) or "" in uids:
        remarks.append(
            "SOPInstanceUIDs are empty or repeated; the files were told apart by their images."
        )
    for keyword in _ALIKE:
        counts = Counter(_comparable(text(header, keyword)) for header in headers).most_common()
        outliers = len(headers) - counts[0][1]
        if 0 < outliers < counts[0][1] and outliers <= max(1, _MOST_OUTLIERS * len(headers)):
            others = ", ".join(value or "none" for value, _ in counts[1:4])
            remarks.append(
                f"{outliers} of {len(headers)} files state another {keyword} ({others}) than the "
                f"others ({counts[0][0] or 'none'}); each file's own was taken."
            )
    if any(MODIFIED_HU in _rescale_types(header) for header in headers):
        remarks.append(
            f"The header states modified HU (RescaleType {MODIFIED_HU}), as of images without "
            "contrast agent or calcium: bone's may be wrong."
        )
    return remarks


def _rescale_types(header: Dataset) -> set[str]:
    groups = header.get("PerFrameFunctionalGroupsSequence") or [header]
    return {rescale_type(header, group) for group in groups}


def _beyond_the_ends(single: Sequence[Instance], frames: Sequence[Frame]) -> list[str]:
    """A remark on slices that state a series of their own, but continue the stack."""
    step = frames[1].position_mm - frames[0].position_mm
    ends = np.array([frames[0].position_mm - step, frames[-1].position_mm + step])
    lost = []
    for instance in single:
        if _unusable_reason(instance.header):
            continue
        try:
            slices = frames_of([instance.header], [instance.name], "")
        except UserError:
            continue
        off = np.linalg.norm(ends - slices[0].position_mm, axis=1).min()
        if slices[0].shape == frames[0].shape and off < POSITION_TOLERANCE * np.linalg.norm(step):
            lost.append(instance.name)
    if not lost:
        return []
    return [f"{', '.join(lost)} would continue the scan, but states another SeriesInstanceUID."]


def _comparable(value: str) -> str:
    """A number however written ("1", "1.0") as one text."""
    try:
        return f"{float(value):.8g}"
    except ValueError:
        return value


def _choose(
    source: Source, series: list[list[Instance]], uid: str | None
) -> tuple[list[Instance], list[str]]:
    """The files of the one series that forms a CT volume, and remarks on the choice.

    With `uid`, only that series counts.
    """
    volumes: list[list[Instance]] = []
    remarks: list[str] = []
    passed_over: list[str] = []
    single: list[str] = []
    for one in series:
        if uid is not None and _series_uid(one[0].header) != uid:
            continue
        usable = [instance for instance in one if not _unusable_reason(instance.header)]
        unusable = [instance for instance in one if _unusable_reason(instance.header)]
        if _images(usable) < 2:
            (single if usable else passed_over).append(f"{describe(one)}: {_reasons(one)}")
            continue
        volumes.append(usable)
        if unusable:
            remarks.append(
                f"Taken without {_images(unusable)} images of the series: {_reasons(unusable)}."
            )
    if not volumes and uid is None and (joined := _joined(source, series)):
        return joined, [_JOINED]
    if not volumes:
        if len(single) > _MOST_SINGLE:
            single = [f"{len(single)} CT series of a single slice each. {_TOGETHER}"]
        listed = _listed(single + passed_over)
        raise UserError(f"{source.path}: no CT volume here, only\n  {listed}\n{_GIVE_ONE}")
    if len(volumes) > 1:
        listed = _listed([f"{describe(one)}: {source.path / one[0].name}" for one in volumes])
        raise UserError(
            f"{source.path}: {len(volumes)} CT series here, and any could be meant:\n  {listed}\n"
            "Give the path of one of these files (of an archive: unpack it first), or a folder "
            "that holds only one series."
        )
    for reason in passed_over + single:
        logger.info("%s: passed over: series %s.", source.path, reason)
    return volumes[0], remarks


def _joined(source: Source, series: list[list[Instance]]) -> list[Instance] | None:
    """The slices of one series if each file states a series of its own, as after de-identification.

    Without a doubt they are one series if there are enough of them, all CT slices that agree in
    everything that describes a series, and they form an even stack.
    """
    slices = [one[0] for one in series if len(one) == 1 and not _unusable_reason(one[0].header)]
    if len(slices) < _FEWEST_JOINED or any(_images([one]) > 1 for one in slices):
        return None
    if len({tuple(text(one.header, k) for k in _OF_A_SERIES) for one in slices}) > 1:
        return None
    name = f"{source.path}: {len(slices)} files, each with a SeriesInstanceUID of its own"
    stated = frames_of([one.header for one in slices], [one.name for one in slices], name)
    stack(unrounded(stated) or stated, name)
    return slices


_ROUNDED = (
    "The slices' positions were rounded to whole mm; they were put at even places, since these "
    "agree with the stated slice spacing and lie within 0.5 mm."
)
_JOINED = (
    "Each file states a SeriesInstanceUID of its own; they were read as one series, since they "
    "agree in all else and lie evenly."
)
_FEWEST_JOINED = 5
_OF_A_SERIES = (
    *PATIENT,
    "Modality",
    "ImageType",
    "SeriesDescription",
)
_MOST_SINGLE = 3
_TOGETHER = (
    "If they are one scan, export it with one SeriesInstanceUID: they are read as one series only "
    "if at least five agree in patient, description and type."
)
_LONGEST_NAME = 64
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
    if "LOCALIZER" in text(header, "ImageType"):
        return "a localiser"
    if "PerFrameFunctionalGroupsSequence" in header or "ImagePositionPatient" in header:
        return None
    kind = UID(text(header, "SOPClassUID")).name
    return f"{kind} without a position in the patient"


def _reasons(series: Sequence[Instance]) -> str:
    reasons = Counter(_unusable_reason(i.header) or "a single slice" for i in series)
    return ", ".join(reason for reason, _ in reasons.most_common())


def _listed(lines: Sequence[str]) -> str:
    counts = list(Counter(lines).items())
    shown = [line if n == 1 else f"{n} series {line}" for line, n in counts[:_MOST_LISTED]]
    if len(counts) > len(shown):
        shown.append(f"and {len(counts) - len(shown)} more")
    return "\n  ".join(shown)


def _modality(header: Dataset) -> str:
    return text(header, "Modality")[:_LONGEST_NAME] or "unknown"


def _images(series: Sequence[Instance]) -> int:
    return sum(frame_count(instance.header) for instance in series)
