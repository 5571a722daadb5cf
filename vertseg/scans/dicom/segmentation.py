"""Label maps as DICOM segmentations (DICOM SEG) that refer to the series they were drawn on.

Needs highdicom (`pip install "vertseg[dicom-seg]"`).
"""

import os
from types import ModuleType
from typing import Literal

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from vertseg import __version__
from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.scans.dicom.references import (
    highdicom,
    refuse_unreferable,
    save_object,
    series_number,
    sources,
    vertebra_code,
)
from vertseg.scans.dicom.series import DicomSeries
from vertseg.scans.volumes import Geometry

Form = Literal["BINARY", "LABELMAP"]

_SERIES_NUMBER_OFFSETS = {"BINARY": 1000, "LABELMAP": 2000}


def write_segmentation(
    path: str | os.PathLike[str],
    mask: np.ndarray,
    native: Geometry,
    series: DicomSeries,
    model: str = "vertseg",
    form: Form = "BINARY",
) -> Dataset:
    """Write a label map as a DICOM SEG, one segment a vertebra, from head to foot.

    A binary SEG numbers its segments from 1; one of the form LABELMAP by VerSe's values, which are
    its voxels, too.

    Args:
        path: the file; it appears whole or not at all.
        mask: VerSe label values, canonical (x, y, z).
        native: the grid of the series' volume.
        series: the series that the mask was drawn on.
        model: name of the network, part of the algorithm's identification.
        form: one plane a segment and slice, or one plane a slice.

    Returns:
        The data set, for objects that refer to it.

    Raises:
        UserError: highdicom is not installed, the mask is empty, or the series cannot be referred
            to.
    """
    hd = highdicom()
    present = label_boxes(mask)
    labels = [label for label in CRANIOCAUDAL if label in present]
    if not labels:
        raise UserError(f"{path}: no vertebra was found, so there is no segmentation to write.")
    refuse_unreferable(series)
    images, order = sources(series)
    number_of = np.zeros(256, np.uint8)
    number_of[labels] = labels if form == "LABELMAP" else np.arange(1, len(labels) + 1)
    segments = number_of[series.on_slices(mask, native)[np.argsort(order)]]
    numbers = {int(number_of[label]): label for label in labels}
    return save_object(
        path,
        lambda: _segmentation(hd, images, segments, numbers, model, form),
        series,
        "a DICOM SEG",
        "the NIfTI label map",
    )


def _segmentation(
    hd: ModuleType,
    images: list[Dataset],
    segments: np.ndarray,
    labels: dict[int, int],
    model: str,
    form: Form,
) -> Dataset:
    """The data set; `segments` (frames, rows, columns) holds the numbers of `labels`."""
    algorithm = hd.AlgorithmIdentificationSequence(
        name=model, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=segments,
        segmentation_type=hd.seg.SegmentationTypeValues(form),
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
            for number, label in sorted(labels.items())
        ],
        series_instance_uid=generate_uid(),
        series_number=series_number(images[0], _SERIES_NUMBER_OFFSETS[form]),
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
