"""Label maps as DICOM structure sets (RTSTRUCT), as programs of radiotherapy read them."""

import datetime
import os
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from pydicom.valuerep import DSfloat

from vertseg import __version__
from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.scans.dicom.contours import mask_polygons
from vertseg.scans.dicom.references import (
    NEVER_ABSENT,
    refuse_unreferable,
    save_object,
    series_number,
    sources,
    vertebra_code,
)
from vertseg.scans.dicom.series import DicomSeries
from vertseg.scans.dicom.stack import Frame
from vertseg.scans.volumes import Geometry

_SERIES_NUMBER_OFFSET = 3000
_DECIMALS = 3
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
"""SOP class of the study that a structure set's frame of reference belongs to (retired, but the
value that PS3.3 C.8.8.5 names)."""
_COPIED = (
    *NEVER_ABSENT,
    "StudyDescription",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)


def write_structure_set(
    path: str | os.PathLike[str], mask: np.ndarray, native: Geometry, series: DicomSeries
) -> None:
    """Write a label map as an RTSTRUCT: closed planar contours on the series' slices.

    A region of interest's number is VerSe's value. Holes are joined to the contour around them by
    channels (see `contours`).

    Args:
        path: the file; it appears whole or not at all.
        mask: VerSe label values, canonical (x, y, z).
        native: the grid of the series' volume.
        series: the series that the mask was drawn on.

    Raises:
        UserError: the mask is empty, or the series cannot be referred to.
    """
    present = label_boxes(mask)
    labels = [label for label in CRANIOCAUDAL if label in present]
    if not labels:
        raise UserError(f"{path}: no vertebra was found, so there are no contours to write.")
    refuse_unreferable(series)
    save_object(
        path,
        lambda: _structure_set(series.on_slices(mask, native), labels, series),
        series,
        "an RTSTRUCT",
        "the NIfTI label map",
    )


def _structure_set(stored: np.ndarray, labels: Sequence[int], series: DicomSeries) -> Dataset:
    """The data set of a label map (slices, rows, columns)."""
    images, _ = sources(series)
    dataset = _without_regions(images)
    for label in labels:
        _add_region(dataset, label)
        contours = Dataset()
        contours.ReferencedROINumber = label
        colour = label_colour(label)
        contours.ROIDisplayColor = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        contours.ContourSequence = _contours(stored == label, series, images)
        dataset.ROIContourSequence.append(contours)
    return dataset


def _without_regions(images: list[Dataset]) -> Dataset:
    """A structure set that refers to images, without regions."""
    now = datetime.datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    for keyword in _COPIED:
        if keyword in images[0]:
            dataset[keyword] = images[0][keyword]
    dataset.Modality = "RTSTRUCT"
    dataset.Manufacturer = dataset.ManufacturerModelName = "vertseg"
    dataset.SoftwareVersions = __version__
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = series_number(images[0], _SERIES_NUMBER_OFFSET)
    dataset.SeriesDescription = "Vertebrae (vertseg, research use only)"
    dataset.OperatorsName = ""
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = "VERTEBRAE"
    dataset.StructureSetDescription = RESEARCH_USE_ONLY
    dataset.InstanceCreationDate = dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"

    of_series, study, frame = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = images[0].SeriesInstanceUID
    of_series.ContourImageSequence = [_reference(image) for image in images]
    study.ReferencedSOPClassUID = _STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [of_series]
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    return dataset


def _add_region(dataset: Dataset, label: int) -> None:
    region, observation = Dataset(), Dataset()
    region.ROINumber = label
    region.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
    region.ROIName = NAMES[label]
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    region.ROIGenerationDescription = f"vertseg {__version__}"
    dataset.StructureSetROISequence.append(region)
    observation.ObservationNumber = observation.ReferencedROINumber = label
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    observation.RTROIIdentificationCodeSequence = [_code_item(vertebra_code(label))]
    dataset.RTROIObservationsSequence.append(observation)


def _contours(inside: np.ndarray, series: DicomSeries, images: list[Dataset]) -> list[Dataset]:
    """The contours of a region (slices, rows, columns)."""
    found: list[Dataset] = []
    for index in np.flatnonzero(inside.any(axis=(1, 2))):
        frame = series.frames[index]
        if len(images) == 1:
            image = _reference(images[0])
            image.ReferencedFrameNumber = frame.index + 1
        else:
            image = _reference(images[index])
        for polygon in mask_polygons(inside[index]):
            contour = Dataset()
            contour.ContourImageSequence = [image]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(polygon)
            contour.ContourNumber = len(found) + 1
            contour.ContourData = _coordinates(polygon, frame)
            found.append(contour)
    return found


def _coordinates(polygon: np.ndarray, frame: Frame) -> list[DSfloat]:
    """A polygon's points in LPS mm, one after the other."""
    points = frame.position_mm + (polygon * frame.spacing_mm) @ frame.axes
    return [DSfloat(round(value, _DECIMALS)) for value in points.ravel().tolist()]


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
