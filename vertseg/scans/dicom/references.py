"""What DICOM objects that refer to a series take from it.

De-identification leaves attributes out, blanks them or puts words in their place. So writers of
objects are given data sets made for them: places and UIDs from the series, and those patients' and
study's attributes that can be written, the others blank.

Vertebrae carry their SNOMED CT codes; DICOM's subset of SNOMED knows no T13 and no L6, which are
coded as `Vertebra` and named by their label.
"""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
from pydicom import DataElement, Dataset, config
from pydicom.datadict import keyword_for_tag
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pydicom.valuerep import DA, DT, TM, DSfloat

from vertseg.anatomy.labels import NAMES
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.scans.dicom.files import text
from vertseg.scans.dicom.series import DicomSeries
from vertseg.scans.dicom.stack import Frame
from vertseg.scans.volumes import WIDEST_MM

_LARGEST_SERIES_NUMBER = 10**9
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
NEVER_ABSENT = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
"""Attributes that objects state, empty if unknown."""
_COPIED_GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020)
"""Groups of the attributes of patient, trial, study and equipment; writers choose among them."""
_COPIED = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_SEXES = ("M", "F", "O")
_PARSERS = {"DA": DA, "TM": TM, "DT": DT}


def save_object(
    path: str | os.PathLike[str],
    make: Callable[[], Dataset],
    series: DicomSeries,
    kind: str,
    instead: str,
) -> Dataset:
    """Make an object that refers to a series, and write it.

    Args:
        path: the file; it appears whole or not at all.
        make: function that makes the object.
        series: the series.
        kind: name of the object, with its article.
        instead: what a user has without it.

    Returns:
        The object.

    Raises:
        UserError: the series cannot be referred to.
    """
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # Anonymised series often hold names and UIDs that break DICOM's rules.
            warnings.simplefilter("ignore", UserWarning)
            made = make()
            made.save_as(content, enforce_file_format=True)
    except Exception as error:
        raise UserError(
            f"The series {series.description} cannot be referred to by {kind} ({error}). Use "
            f"{instead} instead."
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return made


def vertebra_code(label: int) -> Code:
    """SNOMED CT code of a vertebra; the general one for T13 and L6."""
    code = getattr(codes.SCT, f"{NAMES[label]}Vertebra", None)
    return codes.SCT.Vertebra if code is None else code


def highdicom() -> ModuleType:
    """The package highdicom.

    Raises:
        UserError: it is not installed.
    """
    try:
        import highdicom as package
    except ImportError as error:
        raise UserError(
            "DICOM SEG and SR need the package highdicom: pip install 'vertseg[dicom-seg]'."
        ) from error
    return package


def refuse_unreferable(series: DicomSeries) -> None:
    """Refuse a series that no DICOM object can refer to.

    Raises:
        UserError: its UIDs are missing, repeated or unknown.
    """
    reason = None
    uids = [text(header, "SOPInstanceUID") for header in series.headers]
    if len(series.headers) > 1 and len(series.frames) > len(series.headers):
        reason = "consists of several multi-frame files"
    elif "" in uids or len(set(uids)) < len(uids):
        reason = "has files with an empty or repeated SOPInstanceUID"
    elif any(not UID(text(header, "SOPClassUID")).keyword for header in series.headers):
        reason = "states an unknown SOPClassUID"
    else:
        for keyword in _UIDS:
            stated = {text(header, keyword) for header in series.headers}
            if stated <= {""}:
                name = "frame of reference" if keyword == "FrameOfReferenceUID" else keyword
                reason = f"states no {name}"
            elif len(stated) > 1:
                reason = f"states several values of {keyword}"
    if reason:
        raise UserError(
            f"The series {series.description} {reason}, so that no DICOM object can refer to "
            "it. Use the NIfTI label map instead."
        )


def sources(series: DicomSeries) -> tuple[list[Dataset], list[int]]:
    """The data sets to refer to, and the index of each of the series' slices among their frames."""
    frames = series.frames
    thickness = _thickness(series.headers[0], frames)
    if len(series.headers) == 1:
        source = _source(series.headers[0], frames[0])
        _add_frames(source, sorted(frames, key=lambda frame: frame.index), thickness)
        return [source], [frame.index for frame in frames]
    found = []
    orientation = _decimals(frames[0].axes.ravel())
    spacing = _decimals(frames[0].spacing_mm[::-1])
    for frame in frames:
        source = _source(series.headers[frame.instance], frame)
        source.ImagePositionPatient = _decimals(frame.position_mm)
        # Headers round axes and spacing of equal slices in different ways.
        source.ImageOrientationPatient, source.PixelSpacing = orientation, spacing
        source.SliceThickness = thickness
        found.append(source)
    return found, list(range(len(frames)))


def series_number(header: Dataset, offset: int) -> int:
    """Number of a new series: that of the series it refers to, plus an offset."""
    try:
        stated = int(header.SeriesNumber)
    except Exception:  # missing, or a value that pydicom cannot convert
        return offset
    return max(0, min(stated, _LARGEST_SERIES_NUMBER)) + offset


def _source(header: Dataset, frame: Frame) -> Dataset:
    """A data set with all that a DICOM SEG takes from a file, but for the places of its frames."""
    source = Dataset()
    for tag in header.keys():  # noqa: SIM118 - iteration would convert damaged elements
        wanted = tag.group in _COPIED_GROUPS or keyword_for_tag(tag) in _COPIED
        if wanted and (element := _valid_element(header, tag)):
            source.add(element)
    if text(source, "PatientSex") not in _SEXES:
        source.PatientSex = ""
    for keyword in NEVER_ABSENT:
        if keyword not in source:
            setattr(source, keyword, "")
    # Text was decoded by the file's character set.
    source.SpecificCharacterSet = "ISO_IR 192"
    for keyword in ("SOPClassUID", "SOPInstanceUID", *_UIDS):
        setattr(source, keyword, text(header, keyword))
    source.Modality = "CT"
    source.Rows, source.Columns = frame.shape
    return source


def _valid_element(header: Dataset, tag: BaseTag) -> DataElement | None:
    """An element that can be read and breaks no rule of its type, or None; no sequences."""
    try:
        element = header[tag]
        if element.VR == "SQ":
            return None
        value = str(element.value) if element.VR == "PN" else element.value
        if value and element.VR in _PARSERS:
            _PARSERS[element.VR](value)
        return DataElement(tag, element.VR, value, validation_mode=config.RAISE)
    except Exception:  # pydicom raises nearly any exception on damaged data
        return None


def _decimals(values: np.ndarray) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


def _add_frames(source: Dataset, frames: Sequence[Frame], thickness: DSfloat) -> None:
    """Add the functional groups of a multi-frame file, its frames in order."""
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _decimals(frames[0].spacing_mm[::-1])
    measures.SliceThickness = thickness
    plane.ImageOrientationPatient = _decimals(frames[0].axes.ravel())
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    source.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in frames:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = _decimals(frame.position_mm)
        group.PlanePositionSequence = [place]
        groups.append(group)
    source.PerFrameFunctionalGroupsSequence = groups
    source.NumberOfFrames = len(groups)


def _thickness(header: Dataset, frames: Sequence[Frame]) -> DSfloat:
    """The slices' thickness by the header or, if it is missing or no length, their distance."""
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    measures = shared[0].get("PixelMeasuresSequence") or [Dataset()]
    for place in (header, measures[0]):
        try:
            stated = float(place.SliceThickness)
        except Exception:  # missing, or a value that pydicom cannot convert
            continue
        if 0 < stated <= WIDEST_MM:
            return DSfloat(stated, auto_format=True)
    ends = [frame.position_mm for frame in (frames[0], frames[-1])]
    step = np.linalg.norm(ends[1] - ends[0]) / (len(frames) - 1)
    return DSfloat(float(step), auto_format=True)
