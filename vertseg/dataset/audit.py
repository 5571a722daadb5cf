"""Audit of labelled scans before anything is computed from them."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from vertseg.anatomy.centroids import TOLERANCE_MM, Centres, body_centres
from vertseg.anatomy.label_maps import boundary_labels, labels_present
from vertseg.anatomy.labels import NAMES, RANK
from vertseg.anatomy.schemes import read_scheme
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.parallel import run_jobs
from vertseg.dataset.annotations import annotated_centres
from vertseg.dataset.samples import Sample
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Volume

COLUMNS = [
    "scan",
    "subject",
    "orientation",
    "shape",
    "spacing_mm",
    "field_of_view_mm",
    "ct_type",
    "mask_type",
    "hu_min",
    "hu_max",
    "labels",
    "cut_by_border",
    "annotated",
    "warnings",
    "problem",
]
"""Shape, spacing and field of view count from left to right, back to front, foot to head."""


def audit(samples: Iterable[Sample], processes: int = 1) -> pd.DataFrame:
    """Audit every scan; one row each (`COLUMNS`), in the samples' order.

    Args:
        samples: the scans.
        processes: how many are read at a time.
    """
    rows = run_jobs(audit_scan, [(sample,) for sample in samples], processes, "auditing")
    return pd.DataFrame(rows, columns=COLUMNS)


def check_audit(table: pd.DataFrame) -> None:
    """Refuse scans that cannot be used.

    Raises:
        UserError: scans cannot be used; all are named, each with its problem.
    """
    bad = table[table["problem"] != ""]
    if len(bad):
        listed = "\n".join(f"  {row.scan}: {row.problem}" for row in bad.itertuples())
        raise UserError(
            f"{len(bad)} of {len(table)} scans cannot be used:\n{listed}\n"
            "Repair them, or leave them out by name: data.exclude in the configuration."
        )


def audit_scan(sample: Sample) -> dict[str, Any]:
    """Audit one scan.

    Returns:
        Its row. `problem` is the reason for which the scan cannot be used, or empty; `warnings`
        lists oddities that do not prevent its use. Cells left unknown by a problem are missing.
    """
    row: dict[str, Any] = {"scan": sample.scan, "subject": sample.subject, "problem": ""}
    with _collected_warnings() as warnings:
        try:
            ct = load_ct(sample.ct)
            row |= _ct_columns(sample, ct)
            mask = load_mask(sample.mask, ct.native, read_scheme(sample.labels))
            row |= _mask_columns(sample, mask)
            _check_content(sample, ct, mask)
            if sample.centroids:
                annotated = annotated_centres(sample, ct.native.affine)
                row["annotated"] = _names(annotated)
                _compare_centres(sample, annotated, body_centres(mask.array, mask.affine))
        except UserError as error:
            row["problem"] = str(error)
    return row | {"warnings": "; ".join(warnings)}


def _ct_columns(sample: Sample, ct: Volume) -> dict[str, Any]:
    shape, spacing = np.array(ct.array.shape), ct.spacing_mm
    return {
        "orientation": "".join(nib.aff2axcodes(ct.native.affine)),
        "shape": _product(shape, "d"),
        "spacing_mm": _product(spacing, ".3g"),
        "field_of_view_mm": _product(shape * spacing, ".0f"),
        "ct_type": str(nib.Nifti1Image.from_filename(sample.ct).get_data_dtype()),
        "hu_min": float(ct.array.min()),
        "hu_max": float(ct.array.max()),
    }


def _mask_columns(sample: Sample, mask: Volume) -> dict[str, Any]:
    return {
        "mask_type": str(nib.Nifti1Image.from_filename(sample.mask).get_data_dtype()),
        "labels": _names(labels_present(mask.array)),
        "cut_by_border": _names(boundary_labels(mask.array, mask.array)),
    }


def _check_content(sample: Sample, ct: Volume, mask: Volume) -> None:
    if ct.array.min() == ct.array.max():
        raise UserError(f"{sample.ct}: all voxels have the same value. Export the scan again.")
    if not mask.array.any() and not _shows_no_spine(sample, ct):
        raise UserError(
            f"{sample.mask}: no vertebra is labelled. Check the file; for a scan without a spine "
            "give a file of centroids that holds no point."
        )


def _shows_no_spine(sample: Sample, ct: Volume) -> bool:
    """Whether the annotation holds no point, as for a scan without a spine."""
    return bool(sample.centroids) and not annotated_centres(sample, ct.native.affine)


def _compare_centres(sample: Sample, annotated: Centres, from_mask: Centres) -> None:
    path = sample.centroids
    only_point = annotated.keys() - from_mask.keys()
    only_mask = from_mask.keys() - annotated.keys()
    if only_point:
        logger.warning("%s: a point but no mask for %s", path, _names(only_point))
    if only_mask:
        logger.warning("%s: a mask but no point for %s", path, _names(only_mask))
    far = [
        label
        for label in annotated.keys() & from_mask.keys()
        if np.linalg.norm(annotated[label] - from_mask[label]) > TOLERANCE_MM
    ]
    if far:
        logger.warning(
            "%s: more than %g mm from the mask's body: %s", path, TOLERANCE_MM, _names(far)
        )


def _names(labels: Iterable[int]) -> str:
    return " ".join(NAMES[label] for label in sorted(labels, key=RANK.__getitem__))


def _product(values: np.ndarray, form: str) -> str:
    return " x ".join(format(value, form) for value in values)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Warnings of the package, collected in addition to being logged."""
    collector = _Collector()
    logger.addHandler(collector)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
