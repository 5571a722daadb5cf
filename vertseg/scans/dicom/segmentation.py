"""Label maps as DICOM segmentations (DICOM SEG) that refer to the series they were drawn on.

Needs highdicom (`pip install "vertseg[dicom-seg]"`). Vertebrae carry their SNOMED CT codes; DICOM's
subset of SNOMED knows no T13 and no L6, which are coded as `Vertebra` and named by their label.
"""

import copy
import os
import warnings
from types import ModuleType

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from vertseg import __version__
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.scans.dicom.series import DicomSeries
from vertseg.scans.volumes import Geometry, native_array

_SERIES_NUMBER_OFFSET = 1000
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def write_segmentation(
    path: str | os.PathLike[str],
    mask: np.ndarray,
    native: Geometry,
    series: DicomSeries,
    model: str = "vertseg",
) -> None:
    """Write a label map as a binary DICOM SEG, one segment a vertebra, from head to foot.

    Args:
        path: the file; it appears whole or not at all.
        mask: VerSe label values, canonical (x, y, z).
        native: the grid of the series.
        series: the series that the mask was drawn on.
        model: name of the network, part of the algorithm's identification.

    Raises:
        UserError: highdicom is not installed, the mask is empty, or the series states no frame of
            reference.
    """
    hd = _highdicom()
    present = set(np.unique(mask).tolist())
    labels = [label for label in CRANIOCAUDAL if label in present]
    if not labels:
        raise UserError(f"{path}: no vertebra was found, so there is no segmentation to write.")
    sources, order = _sources(series)
    if not all(source.get("FrameOfReferenceUID") for source in sources):
        raise UserError(
            f"{path}: the series {series.description} states no frame of reference, so no "
            "segmentation can refer to it. Use the NIfTI label map instead."
        )
    number_of = np.zeros(256, np.uint8)
    number_of[labels] = np.arange(1, len(labels) + 1)
    stored = native_array(mask, native).transpose(2, 1, 0)
    segments = number_of[stored[np.argsort(order)]]
    with warnings.catch_warnings():
        # Anonymised series often hold names that break DICOM's rules.
        warnings.simplefilter("ignore", UserWarning)
        segmentation = _segmentation(hd, sources, segments, labels, model)
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _segmentation(
    hd: ModuleType, sources: list[Dataset], segments: np.ndarray, labels: list[int], model: str
) -> Dataset:
    """The data set; `segments` (frames, rows, columns) numbers the labels from 1."""
    algorithm = hd.AlgorithmIdentificationSequence(
        name=model, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=segments,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=NAMES[label],
                segmented_property_category=codes.SCT.AnatomicalStructure,
                segmented_property_type=vertebra_code(label),
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                display_color=hd.color.CIELabColor.from_string(label_colour(label)),
            )
            for number, label in enumerate(labels, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=int(sources[0].get("SeriesNumber") or 0) + _SERIES_NUMBER_OFFSET,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="vertseg",
        manufacturer_model_name="vertseg",
        software_versions=__version__,
        device_serial_number="0",
        content_label="VERTEBRAE",
        content_description=RESEARCH_USE_ONLY,
        series_description="Vertebrae (vertseg, research use only)",
    )


def vertebra_code(label: int) -> Code:
    """SNOMED CT code of a vertebra; the general one for T13 and L6."""
    code = getattr(codes.SCT, f"{NAMES[label]}Vertebra", None)
    return codes.SCT.Vertebra if code is None else code


def _highdicom() -> ModuleType:
    try:
        import highdicom
    except ImportError as error:
        raise UserError(
            "DICOM SEG needs the package highdicom: pip install 'vertseg[dicom-seg]'."
        ) from error
    return highdicom


def _sources(series: DicomSeries) -> tuple[list[Dataset], list[int]]:
    """The data sets to refer to, and the index of each native slice among their frames."""
    frames = series.frames
    if len(series.headers) > 1 and len(frames) > len(series.headers):
        raise UserError(
            f"The series {series.description} consists of several multi-frame files, to which a "
            "DICOM SEG cannot refer. Use the NIfTI label map instead."
        )
    if len(series.headers) == 1:
        return [_complete(series.headers[0])], [frame.index for frame in frames]
    headers = [series.headers[frame.instance] for frame in frames]
    return [_complete(headers[0]), *headers[1:]], list(range(len(frames)))


def _complete(header: Dataset) -> Dataset:
    """A copy of a header with all attributes that may be empty but not absent."""
    header = copy.copy(header)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return header
