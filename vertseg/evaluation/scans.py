"""Evaluation of predicted scans: a row for each scan and a row for each vertebra.

`docs/evaluation.md` explains columns and rules.
"""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vertseg.anatomy.centroids import Centres, body_centres, read_centroids
from vertseg.anatomy.label_maps import boundary_labels
from vertseg.anatomy.labels import NAMES, RANK
from vertseg.anatomy.schemes import read_scheme
from vertseg.core.errors import UserError
from vertseg.core.parallel import run_jobs
from vertseg.dataset.annotations import annotated_centres
from vertseg.dataset.layout import centroids_path, grid_mask_path, mask_path
from vertseg.dataset.samples import Sample
from vertseg.evaluation import metrics
from vertseg.scans.nifti import load_mask
from vertseg.segmentation.cache import CachedScan, read_cache

Row = dict[str, Any]

KEYS = ["method", "fold", "scan", "subject"]

SCAN_COLUMNS = [
    *KEYS,
    "multi_label_dice",
    "multi_label_dice_reference_labels",
    "multi_label_dice_native",
    "multi_label_dice_native_reference_labels",
    "multi_label_dice_native_interior",
    "binary_dice",
    "binary_dice_native",
    "id_rate",
    "id_precision",
    "localisation_error_mm",
    "hausdorff_mm",
    "hd95_mm",
    "all_labels_right",
    "shift",
    "median_label_offset",
    "n_reference",
    "n_predicted",
    "n_matched",
    "n_boundary",
]

LABEL_COLUMNS = [
    *KEYS,
    "label",
    "name",
    "dice_grid",
    "dice_native",
    "reference_voxels",
    "predicted_voxels",
    "boundary",
    *(f"reference_{axis}_mm" for axis in "xyz"),
    *(f"predicted_{axis}_mm" for axis in "xyz"),
    "distance_mm",
    "identified",
    "hausdorff_mm",
    "hd95_mm",
]

_WHOLE_OR_BLANK = ["all_labels_right", "shift", "identified", "boundary"]


@dataclass(frozen=True)
class Case:
    """Reference and prediction of one scan.

    Attributes:
        reference: native label map (x, y, z).
        predicted: native label map of the same shape.
        affine: (4, 4) native voxel indices to mm.
        reference_centres: points in mm by label.
        predicted_centres: points in mm by label.
        reference_grid: label map (X, Y, Z) on the network's grid.
        predicted_grid: label map of the same shape.
    """

    reference: np.ndarray
    predicted: np.ndarray
    affine: np.ndarray
    reference_centres: Centres
    predicted_centres: Centres
    reference_grid: np.ndarray
    predicted_grid: np.ndarray


def evaluate_scan(case: Case) -> tuple[Row, list[Row]]:
    """Measure one scan.

    Returns:
        The scan's row, and a row for each label in any of the masks or sets of centres, from C1
        downwards. Measures that are not defined are NaN.
    """
    grid = metrics.confusion(case.reference_grid, case.predicted_grid)
    native = metrics.confusion(case.reference, case.predicted)
    boundary = boundary_labels(case.reference, case.predicted)
    surfaces = metrics.surface_distances(case.reference, case.predicted, case.affine)
    found = metrics.identification(case.reference_centres, case.predicted_centres)
    scan_row = {
        **_dice_columns(grid, native, boundary),
        **_identification_columns(found),
        **_surface_columns(list(surfaces.values())),
        **_labelling_columns(case.reference_centres, case.predicted_centres),
        "n_boundary": len(boundary),
    }
    dice_grid, dice_native = metrics.dice_per_label(grid), metrics.dice_per_label(native)
    labels = {*dice_grid, *dice_native, *case.reference_centres, *case.predicted_centres}
    label_rows = [
        {
            "label": label,
            "name": NAMES[label],
            "dice_grid": dice_grid.get(label, math.nan),
            "dice_native": dice_native.get(label, math.nan),
            "reference_voxels": int(native[label].sum()),
            "predicted_voxels": int(native[:, label].sum()),
            "boundary": label in boundary,
            **_point_columns("reference", case.reference_centres.get(label)),
            **_point_columns("predicted", case.predicted_centres.get(label)),
            "distance_mm": found.distances_mm.get(label, math.nan),
            "identified": found.hits.get(label, math.nan),
            **_surface_columns([surfaces[label]] if label in surfaces else []),
        }
        for label in sorted(labels, key=RANK.__getitem__)
    ]
    return scan_row, label_rows


def evaluate_fold(
    method: str,
    fold: str,
    samples: Iterable[Sample],
    predictions: str | os.PathLike[str],
    caches: Mapping[str, Path],
    processes: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate a method's predictions of the scans that a fold holds out.

    Args:
        method: key of the method.
        fold: index of the fold that holds the scans out, or "external".
        samples: the scans.
        predictions: folder of `{scan}_seg-vert_msk.nii.gz`, `{scan}_seg-vert_ctd.json` and,
            where the network worked on the grid, `{scan}_grid.safetensors`.
        caches: path of each scan's cache file by scan name.
        processes: how many scans are evaluated at a time.

    Returns:
        Table of scans and table of labels, with `SCAN_COLUMNS` and `LABEL_COLUMNS`.

    Raises:
        UserError: a prediction or a cache file is missing or cannot be read.
    """
    samples = sorted(samples, key=lambda sample: sample.scan)
    _check_complete(samples, Path(predictions), caches)
    jobs = [(sample, Path(predictions), caches[sample.scan]) for sample in samples]
    results = run_jobs(_evaluate_sample, jobs, processes, "evaluating")
    scan_rows, label_rows = [], []
    for sample, (scan_row, rows) in zip(samples, results, strict=True):
        keys = dict(zip(KEYS, (method, fold, sample.scan, sample.subject), strict=True))
        scan_rows.append(keys | scan_row)
        label_rows += [keys | row for row in rows]
    return _table(scan_rows, SCAN_COLUMNS), _table(label_rows, LABEL_COLUMNS)


def load_case(sample: Sample, predictions: Path, cache: CachedScan) -> Case:
    """Read reference and prediction of one scan, both on the CT's voxels.

    Reference centres are the annotated ones, or the reference mask's body centres if the sample
    sheet names no centroid file. If a method has no prediction on the network's grid, its native
    prediction is resampled to it, as the reference was.

    Args:
        sample: the scan.
        predictions: folder with its prediction.
        cache: the scan's cache.

    Raises:
        UserError: a file is missing, cannot be read or contradicts the CT.
    """
    native = cache.transform.native
    reference = load_mask(sample.mask, native, read_scheme(sample.labels))
    predicted = load_mask(mask_path(predictions, sample.scan), native)
    if cache.label is None:
        raise UserError(f"{sample.scan}: its cache holds no reference. Delete it and run again.")
    return Case(
        reference=reference.array,
        predicted=predicted.array,
        affine=reference.affine,
        reference_centres=(
            annotated_centres(sample, native.affine)
            if sample.centroids
            else body_centres(reference.array, reference.affine)
        ),
        predicted_centres=read_centroids(centroids_path(predictions, sample.scan), native.affine),
        reference_grid=cache.label,
        predicted_grid=_grid_prediction(sample.scan, predictions, predicted.array, cache),
    )


def _dice_columns(grid: np.ndarray, native: np.ndarray, boundary: set[int]) -> Row:
    return {
        "multi_label_dice": metrics.multi_label_dice(grid),
        "multi_label_dice_reference_labels": metrics.multi_label_dice_reference_labels(grid),
        "multi_label_dice_native": metrics.multi_label_dice(native),
        "multi_label_dice_native_reference_labels": metrics.multi_label_dice_reference_labels(
            native
        ),
        "multi_label_dice_native_interior": metrics.multi_label_dice_interior(native, boundary),
        "binary_dice": metrics.binary_dice(grid),
        "binary_dice_native": metrics.binary_dice(native),
    }


def _identification_columns(found: metrics.Identification) -> Row:
    return {
        "id_rate": found.rate,
        "id_precision": found.precision,
        "localisation_error_mm": found.localisation_error_mm,
        "n_reference": len(found.hits),
        "n_predicted": found.n_predicted,
    }


def _labelling_columns(reference: Centres, predicted: Centres) -> Row:
    offsets = metrics.label_offsets(reference, predicted)
    shift = metrics.common_shift(offsets, len(reference))
    all_right = shift == 0 and len(offsets) == len(reference)
    return {
        "all_labels_right": all_right if reference else math.nan,
        "shift": math.nan if shift is None else shift,
        "median_label_offset": metrics.median_offset(offsets),
        "n_matched": len(offsets),
    }


def _surface_columns(distances: list[metrics.SurfaceDistance]) -> Row:
    if not distances:
        return {"hausdorff_mm": math.nan, "hd95_mm": math.nan}
    return {
        "hausdorff_mm": float(np.mean([distance.hausdorff_mm for distance in distances])),
        "hd95_mm": float(np.mean([distance.hd95_mm for distance in distances])),
    }


def _point_columns(prefix: str, point: np.ndarray | None) -> Row:
    values = [math.nan] * 3 if point is None else point
    return {f"{prefix}_{axis}_mm": float(value) for axis, value in zip("xyz", values, strict=True)}


def _evaluate_sample(sample: Sample, predictions: Path, cache: Path) -> tuple[Row, list[Row]]:
    return evaluate_scan(load_case(sample, predictions, read_cache(cache)))


def _grid_prediction(
    scan: str, predictions: Path, predicted: np.ndarray, cache: CachedScan
) -> np.ndarray:
    path = grid_mask_path(predictions, scan)
    if not path.exists():
        return cache.transform.encode_labels(predicted)
    try:
        return load_file(path)["label"]
    except (KeyError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}). Predict this fold again.") from error


def _check_complete(samples: list[Sample], predictions: Path, caches: Mapping[str, Path]) -> None:
    if not samples:
        raise UserError("No scan belongs to this fold. Check folds.tsv.")
    for sample in samples:
        for path in (
            mask_path(predictions, sample.scan),
            centroids_path(predictions, sample.scan),
        ):
            if not path.is_file():
                raise UserError(
                    f"{path}: scan {sample.scan} has no prediction. Predict this fold again."
                )
        if sample.scan not in caches:
            raise UserError(f"{sample.scan}: not among the cache files. Preprocess it first.")


def _table(rows: list[Row], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    for column in table.columns.intersection(_WHOLE_OR_BLANK):
        table[column] = table[column].astype("float").astype("Int64")
    return table
