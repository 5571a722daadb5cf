"""Measures of vertebrae as a DICOM structured report (TID 1500), each of a segment of a SEG.

Needs highdicom (`pip install "vertseg[dicom-seg]"`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from vertseg import __version__
from vertseg.anatomy.labels import IDS
from vertseg.scans.dicom.references import (
    highdicom,
    save_object,
    series_number,
    sources,
    vertebra_code,
)
from vertseg.scans.dicom.series import DicomSeries

OWN_CODES = "99VERTSEG"
"""Designator of the codes of this program; 99 marks schemes that DICOM does not know."""

_SERIES_NUMBER_OFFSET = 4000


@dataclass(frozen=True)
class Measure:
    """A number about a vertebra.

    Attributes:
        name: code of what was measured.
        value: the number.
        unit: code of its unit, UCUM.
    """

    name: Code
    value: float
    unit: Code


@dataclass(frozen=True)
class Evaluation:
    """A statement about a vertebra, as codes of question and answer."""

    name: Code
    value: Code


def write_measurements(
    path: str | os.PathLike[str],
    measures: Mapping[int, Sequence[Measure | Evaluation]],
    segmentation: Dataset,
    series: DicomSeries,
    model: str = "vertseg",
) -> None:
    """Write measures as a Comprehensive 3D SR, unverified, one group a vertebra.

    Args:
        path: the file; it appears whole or not at all.
        measures: numbers and statements by label; labels without a segment are left out.
        segmentation: the binary SEG of the same prediction.
        series: the series that was segmented.
        model: name of the network.

    Raises:
        UserError: highdicom is not installed, or the series cannot be referred to.
    """
    hd = highdicom()
    images, _ = sources(series)
    save_object(
        path,
        lambda: _report(hd, measures, segmentation, images, model),
        series,
        "a DICOM SR",
        "the table of measures",
    )


def _report(
    hd: ModuleType,
    measures: Mapping[int, Sequence[Measure | Evaluation]],
    segmentation: Dataset,
    images: list[Dataset],
    model: str,
) -> Dataset:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["vertseg", __version__]),
        name="vertseg",
        manufacturer_name="vertseg",
        model_name=model,
    )
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    groups = [
        _group(hd, segment, measures[label], segmentation, images[0], model)
        for segment in segmentation.SegmentSequence
        if (label := IDS[segment.SegmentLabel]) in measures
    ]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=[*images, segmentation],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=series_number(images[0], _SERIES_NUMBER_OFFSET),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="vertseg",
        manufacturer_model_name="vertseg",
        software_versions=__version__,
    )
    report.SeriesDescription = "Vertebrae (vertseg, research use only)"
    return report


def _group(
    hd: ModuleType,
    segment: Dataset,
    stated: Sequence[Measure | Evaluation],
    segmentation: Dataset,
    image: Dataset,
    model: str,
) -> Dataset:
    """The measures of one segment."""
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=generate_uid(), identifier=segment.SegmentLabel
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=segment.SegmentNumber,
            source_series=hd.sr.SourceSeriesForSegmentation(image.SeriesInstanceUID),
        ),
        finding_category=codes.SCT.AnatomicalStructure,
        finding_type=vertebra_code(IDS[segment.SegmentLabel]),
        algorithm_id=hd.sr.AlgorithmIdentification(name=model, version=__version__),
        measurements=[
            hd.sr.Measurement(name=one.name, value=one.value, unit=one.unit)
            for one in stated
            if isinstance(one, Measure)
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=one.name, value=one.value)
            for one in stated
            if isinstance(one, Evaluation)
        ],
    )
