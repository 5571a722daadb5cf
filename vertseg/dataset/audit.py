"""Audit of labelled scans before anything is learned from them."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from vertseg.anatomy.centroids import TOLERANCE_MM, Centres, body_centres
from vertseg.anatomy.label_maps import (
    boundary_labels,
    label_boxes,
    labelled_box,
    leaves_out_sacrum,
    memory_order,
)
from vertseg.anatomy.labels import BACKGROUND, NAMES, RANK, SACRUM
from vertseg.anatomy.schemes import read_scheme
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.parallel import run_jobs
from vertseg.dataset.annotations import annotated_centres
from vertseg.dataset.samples import Sample
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.mask_folders import mask_file
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import AIR_HU, Volume

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
    "sacrum",
    "annotated",
    "content",
    "warnings",
    "problem",
]
"""Shape, spacing and field of view count from left to right, back to front, foot to head. The
sacrum is "labelled", "not labelled" though it is in view, or unknown.

Scans of equal `content` are one: it stands for the numbers of voxels of each HU, which neither
another compression, another order of axes nor another header changes.
"""

BONE_HU = 100
"""Lower bound of bone, above muscle and below the thin cortex of osteoporotic vertebrae."""
SURROUNDINGS_MM = 10.0
"""Reach of the tissue around the labels that they are compared with."""
LEAST_BONE_GAIN = 0.2
"""Smallest difference between the shares of bone inside and around the labels.

It was 0.59 in VerSe's public sample and 0.49 to 0.93 in 76 phantoms of all presets; with the labels
10 to 40 mm off it was below 0.2 in two cases of three.
"""
VERTEBRA_MM = (20.0, 250.0)
"""Range of the diagonal of the box around a vertebra, as the median of a scan."""

_HIGHEST_HU = 32767


def audit(samples: Iterable[Sample], processes: int = 1) -> pd.DataFrame:
    """Audit every scan; one row each (`COLUMNS`), in the samples' order.

    Copies of one CT are a problem of all their scans if these have several subjects, as folds would
    separate them, and a warning otherwise. A sacrum in view without a label is a warning where
    other scans label it.

    Args:
        samples: the scans.
        processes: how many are read at a time.
    """
    rows = run_jobs(audit_scan, [(sample,) for sample in samples], processes, "auditing")
    _compare_contents(rows)
    _compare_sacra(rows)
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
            check_ct(ct, Path(sample.ct))
            mask = load_mask(sample.mask, ct.native, read_scheme(sample.labels), sacrum=True)
            row["sacrum"] = _without_sacrum(mask.array, mask.spacing_mm[2])
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
        "content": _content(ct.array),
    }


def _mask_columns(sample: Sample, mask: Volume) -> dict[str, Any]:
    return {
        "mask_type": str(nib.Nifti1Image.from_filename(mask_file(sample.mask)).get_data_dtype()),
        "labels": _names(label_boxes(mask.array)),
        "cut_by_border": _names(boundary_labels(mask.array, mask.array)),
    }


def _without_sacrum(mask: np.ndarray, height_mm: float) -> str:
    """Make a mask's sacrum background; what the mask says of it, "" if it may be out of view."""
    boxes = label_boxes(mask)
    if SACRUM in boxes:
        part = mask[boxes[SACRUM].slices]
        part[part == SACRUM] = BACKGROUND
        return "labelled"
    return "not labelled" if leaves_out_sacrum(boxes, height_mm) else ""


def _check_content(sample: Sample, ct: Volume, mask: Volume) -> None:
    if mask.array.any():
        _check_size(sample, mask)
        _check_on_bone(sample, ct.array, mask.array, mask.spacing_mm)
    elif not _shows_no_spine(sample, ct):
        raise UserError(
            f"{sample.mask}: no vertebra is labelled. Check the file; for a scan without a spine "
            "give a file of centroids that holds no point."
        )


def _check_size(sample: Sample, mask: Volume) -> None:
    """Refuse vertebrae of impossible size: the headers are not in mm."""
    boxes = label_boxes(mask.array).values()
    sides = [np.multiply(box.shape, mask.spacing_mm) for box in boxes]
    diagonal = float(np.median(np.linalg.norm(sides, axis=1)))
    if not VERTEBRA_MM[0] <= diagonal <= VERTEBRA_MM[1]:
        raise UserError(
            f"{sample.mask}: the vertebrae's boxes have a diagonal of {diagonal:.3g} mm (median), "
            f"where {VERTEBRA_MM[0]:g} to {VERTEBRA_MM[1]:g} mm are possible. The headers' numbers "
            "seem to be in another unit than mm, or the labels are not vertebrae."
        )


def _check_on_bone(
    sample: Sample, ct: np.ndarray, mask: np.ndarray, spacing_mm: np.ndarray
) -> None:
    """Refuse labels that lie elsewhere than on bone."""
    reach = np.ceil(SURROUNDINGS_MM / spacing_mm).astype(int)
    labelled_part = labelled_box(mask)
    assert labelled_part is not None
    near = labelled_part.widened(reach, mask.shape).slices
    inside, bone = mask[near] > 0, ct[near] > BONE_HU
    around = inside
    for axis, margin in enumerate(reach):
        around = ndimage.maximum_filter1d(around, 2 * margin + 1, axis, mode="constant")
    around &= ~inside
    if not around.any():
        return
    labelled, other = float(bone[inside].mean()), float(bone[around].mean())
    if labelled - other < LEAST_BONE_GAIN:
        raise UserError(
            f"{sample.mask}: the labels do not lie on bone: {labelled:.0%} of the labelled voxels "
            f"and {other:.0%} of those around them are above {BONE_HU} HU. The mask may be of "
            "another scan, shifted or flipped, or the CT's values may be inverted or scaled: look "
            "at both in a viewer and check the pairing of CT and mask."
        )


def _shows_no_spine(sample: Sample, ct: Volume) -> bool:
    """Whether the annotation holds no point, as for a scan without a spine."""
    return bool(sample.centroids) and not annotated_centres(sample, ct.native.affine)


def _compare_centres(sample: Sample, annotated: Centres, from_mask: Centres) -> None:
    path, common = sample.centroids, annotated.keys() & from_mask.keys()
    only_point = annotated.keys() - from_mask.keys()
    only_mask = from_mask.keys() - annotated.keys()
    if only_point:
        logger.warning("%s: a point but no mask for %s", path, _names(only_point))
    if only_mask:
        logger.warning("%s: a mask but no point for %s", path, _names(only_mask))
    far = [
        label
        for label in common
        if np.linalg.norm(annotated[label] - from_mask[label]) > TOLERANCE_MM
    ]
    if len(far) == len(common) > 1:
        raise UserError(
            f"{path}: no point lies within {TOLERANCE_MM:g} mm of its vertebra's body in the mask "
            f"({_names(far)}). The points may count voxels of another image, or name other "
            "vertebrae: give the file that belongs to the scan, or none, for centres of the mask."
        )
    if far:
        logger.warning(
            "%s: more than %g mm from the mask's body: %s", path, TOLERANCE_MM, _names(far)
        )


def _content(ct: np.ndarray) -> str:
    """A fingerprint of a CT (x, y, z): its numbers of voxels by whole HU from -1024 upwards."""
    counts = np.zeros(_HIGHEST_HU - AIR_HU + 1, np.int64)
    for plane in ct.transpose(memory_order(ct)):
        whole = np.clip(np.rint(plane), AIR_HU, _HIGHEST_HU).astype(np.intp) - AIR_HU
        counts += np.bincount(whole.ravel(), minlength=counts.size)
    return hashlib.sha256(counts.tobytes()).hexdigest()[:16]


def _compare_contents(rows: list[dict[str, Any]]) -> None:
    """Add problems or warnings to the rows of scans whose CTs are copies of one another."""
    same: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "content" in row and not row["problem"]:
            same.setdefault(row["content"], []).append(row)
    for copies in same.values():
        subjects = sorted({row["subject"] for row in copies})
        for row in copies if len(copies) > 1 else []:
            others = ", ".join(other["scan"] for other in copies if other is not row)
            if len(subjects) > 1:
                row["problem"] = (
                    f"the CT has the same voxels as that of {others}, under several subjects: "
                    f"{', '.join(subjects)}. Folds would separate one patient's scans: name one "
                    "subject for all of them, or leave the copies out."
                )
            else:
                text = f"the CT has the same voxels as that of {others}; each counts as a scan"
                _warn(row, text)
                logger.warning("%s: %s", row["scan"], text)


def _compare_sacra(rows: list[dict[str, Any]]) -> None:
    """Add warnings to the rows of scans whose sacrum has no label, if that of others has one."""
    usable = [row for row in rows if not row["problem"]]
    labelled, without = (
        [row for row in usable if row["sacrum"] == what] for what in ("labelled", "not labelled")
    )
    if not labelled or not without:
        return
    for row in without:
        _warn(row, "the sacrum is in view but not labelled (26), as it is in other scans")
    logger.warning(
        "The sacrum is labelled (26) in %d scans, and in view but not labelled in %d: %s. Networks "
        "that train on both kinds learn it as background; label it in all of them, or in none.",
        len(labelled), len(without), ", ".join(row["scan"] for row in without),
    )  # fmt: skip


def _warn(row: dict[str, Any], text: str) -> None:
    row["warnings"] = "; ".join(filter(None, [row["warnings"], text]))


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
