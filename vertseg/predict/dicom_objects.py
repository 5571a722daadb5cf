"""DICOM objects of a prediction: which are wanted, and the codes of its measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.predict.result import GRADE_WORDS
from vertseg.predict.warnings import PredictionWarning
from vertseg.scans.dicom.measurements import (
    OWN_CODES,
    Evaluation,
    Measure,
    write_measurements,
)
from vertseg.scans.dicom.segmentation import write_segmentation
from vertseg.scans.dicom.structures import write_structure_set
from vertseg.scans.read import Scan

_NAMES = {
    "dicom_seg": "DICOM SEG",
    "dicom_labelmap": "DICOM SEG of the form LABELMAP",
    "dicom_rtstruct": "RTSTRUCT",
    "dicom_sr": "DICOM SR",
}

_ML = Code("ml", "UCUM", "milliliter")
_MM = Code("mm", "UCUM", "millimeter")
_HU = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
_RATIO = Code("1", "UCUM", "no units")


def _own(value: str, meaning: str) -> Code:
    return Code(value, OWN_CODES, meaning)


_MEASURES = {
    "confidence": (_own("CONFIDENCE", "Mean probability within the label"), _RATIO),
    "volume_ml": (Code("118565006", "SCT", "Volume"), _ML),
    "body_volume_ml": (_own("BODYVOLUME", "Volume of the vertebral body"), _ML),
    "trabecular_hu": (_own("TRABECULARHU", "Median attenuation of the spongy bone"), _HU),
    "height_anterior_mm": (_own("HEIGHTANTERIOR", "Anterior height of the vertebral body"), _MM),
    "height_middle_mm": (_own("HEIGHTMIDDLE", "Middle height of the vertebral body"), _MM),
    "height_posterior_mm": (_own("HEIGHTPOSTERIOR", "Posterior height of the vertebral body"), _MM),
    "height_loss": (_own("HEIGHTLOSS", "Largest relative loss of height"), _RATIO),
}
"""Code and unit of a vertebra's numbers, by their names in the table of measures."""


def coded_measures(vertebra: Mapping[str, Any]) -> list[Measure | Evaluation]:
    """A vertebra's measures as codes; values that were left out are not stated."""
    stated: list[Measure | Evaluation] = [
        Measure(name, float(vertebra[key]), unit)
        for key, (name, unit) in _MEASURES.items()
        if vertebra.get(key) is not None
    ]
    grade, shape = vertebra.get("genant_grade"), vertebra.get("fracture_shape")
    if grade is not None:
        answer = _own(f"GENANT{grade}", f"Genant grade {grade} ({GRADE_WORDS[grade]})")
        stated.append(Evaluation(_own("GENANT", "Genant grade"), answer))
    if shape is not None:
        answer = _own(shape.upper(), f"{shape} deformity")
        stated.append(Evaluation(_own("SHAPE", "Shape of the fracture"), answer))
    return stated


def write_dicom(
    paths: Mapping[str, Path],
    scan: Scan,
    mask: np.ndarray,
    vertebrae: Sequence[Mapping[str, Any]],
    model: str,
) -> list[PredictionWarning]:
    """Write DICOM objects of a prediction, each by itself.

    Args:
        paths: files by kind, some of the keys "dicom_seg", "dicom_labelmap", "dicom_rtstruct" and
            "dicom_sr", the last with the first alone.
        scan: the scan, a DICOM series.
        mask: label map, canonical (x, y, z).
        vertebrae: measures of each vertebra.
        model: name of the network.

    Returns:
        A warning for each object that the series allows none of; its file is not there.
    """
    series, native = scan.series, scan.volume.native
    if series is None:
        raise ValueError(f"{scan.source} is not a DICOM series")
    segmentation: Dataset | None = None
    failed = []
    for kind in _NAMES:
        if kind not in paths:
            continue
        try:
            if kind == "dicom_seg":
                segmentation = write_segmentation(paths[kind], mask, native, series, model)
            elif kind == "dicom_labelmap":
                write_segmentation(paths[kind], mask, native, series, model, "LABELMAP")
            elif kind == "dicom_rtstruct":
                write_structure_set(paths[kind], mask, native, series)
            elif segmentation is None:
                raise UserError("There is no DICOM SEG for it to refer to.")
            else:
                measures = {one["label"]: coded_measures(one) for one in vertebrae}
                write_measurements(paths[kind], measures, segmentation, series, model)
        except UserError as error:
            logger.warning("%s: no %s was written. %s", scan.source, _NAMES[kind], error)
            message = f"No {_NAMES[kind]} was written. {error}"
            failed.append(PredictionWarning(f"no_{kind}", (), message))
    return failed
