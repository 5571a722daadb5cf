"""Screening measures compared with the phantom's truth."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vertseg.anatomy.centroids import TOLERANCE_MM, Centres, body_centres, read_centroids
from vertseg.anatomy.labels import NAMES, RANK
from vertseg.core.errors import UserError
from vertseg.core.parallel import run_jobs
from vertseg.dataset.layout import mask_path, phantom_truth_path
from vertseg.dataset.samples import Sample
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Volume
from vertseg.screening.measures import VertebraMeasures, measure_vertebrae
from vertseg.segmentation.grid import GridSpec, GridTransform

PLACES = ("anterior", "middle", "posterior")
QUANTITIES = {
    "trabecular_hu": "trabecular HU",
    **{f"height_{place}_mm": f"{place} height in mm" for place in PLACES},
}
"""Compared quantities: title by field of a vertebra's measures."""

REGIONS = {"C": "cervical", "T": "thoracic", "L": "lumbar"}


MEASURED = (
    *QUANTITIES,
    "foreign_material",
    "body_complete",
    "genant_grade",
    "fracture_shape",
    "height_loss",
)
"""Columns of measures, blank for vertebrae that were not found."""


def compare_scan(
    sample: Sample, predicted_mask: str | None = None, drawn_on: GridSpec | None = None
) -> list[dict[str, Any]]:
    """Measure a phantom in its reference mask, or a predicted one, and set the truth beside it.

    True HU include the scanner's calibration offset. Heights are measured in coarsely drawn masks,
    too.

    Args:
        sample: the phantom.
        predicted_mask: path of a predicted label map; None for the reference mask.
        drawn_on: grid of the network that predicted it.

    Returns:
        A row for each vertebra of the reference. Vertebrae with a predicted centre more than 20 mm
        away, or nearer to another vertebra, count as not found and have no measures.

    Raises:
        UserError: a file is missing or unreadable, or the phantom's description is.
    """
    truth = _read_truth(sample)
    ct = load_ct(sample.ct)
    mask = load_mask(predicted_mask or sample.mask, ct.native).array
    reference = read_centroids(sample.centroids, ct.native.affine)
    found = (
        found_labels(reference, body_centres(mask, ct.affine)) if predicted_mask else set(reference)
    )
    cell_mm = 0.0
    if drawn_on is not None:
        cell_mm = GridTransform.onto(drawn_on, ct.native).cell_mm.max()
    measured = measure_vertebrae(ct, mask, cell_mm=cell_mm)
    return beside_truth(
        sample.scan,
        ct,
        truth,
        [one for one in measured if one.label in found],
        reference,
    )


def beside_truth(
    scan: str,
    ct: Volume,
    truth: dict[str, Any],
    measured: Iterable[VertebraMeasures],
    reference: Centres,
) -> list[dict[str, Any]]:
    """Measures of a phantom's vertebrae with the truth beside them.

    Args:
        scan: name of the phantom.
        ct: its CT.
        truth: its description.
        measured: measures of the vertebrae that were found.
        reference: centres of all vertebrae.

    Returns:
        A row for each vertebra of the reference, without measures for those that were not found.
    """
    measures = {one.label: one for one in measured}
    implanted = {*truth["implants"]["screws"], *truth["implants"]["cement"]}
    rows = []
    for label in sorted(reference, key=RANK.__getitem__):
        name = NAMES[label]
        row: dict[str, Any] = {
            "scan": scan,
            "label": label,
            "name": name,
            "region": REGIONS[name[0]],
            "slice_spacing_mm": float(ct.spacing_mm.max()),
            "found": label in measures,
            "implant": name in implanted,
            "fracture": truth["fractures"].get(name, "none"),
            **_true_values(truth, name),
        }
        one = vars(measures[label]) if label in measures else {}
        rows.append(row | {field: one.get(field) for field in MEASURED})
    return rows


def compare_scans(
    samples: Sequence[Sample],
    predictions: Sequence[Path] = (),
    drawn_on: GridSpec | None = None,
    processes: int = 1,
) -> pd.DataFrame:
    """Compare many phantoms, several at a time.

    Args:
        samples: the phantoms.
        predictions: folders of predicted masks, in which the samples with a mask are measured;
            without folders, all samples are measured in their reference masks.
        drawn_on: grid of the network that predicted the masks.
        processes: number of scans measured at a time.

    Returns:
        Rows of `compare_scan`.

    Raises:
        UserError: see `compare_scan`.
    """
    jobs: list[tuple] = [(sample,) for sample in samples]
    if predictions:
        jobs = [
            (sample, str(mask_path(folder, sample.scan)), drawn_on)
            for sample in samples
            for folder in predictions
            if mask_path(folder, sample.scan).is_file()
        ]
    rows = run_jobs(compare_scan, jobs, processes, "measuring")
    return pd.DataFrame([row for scan in rows for row in scan])


def differences(table: pd.DataFrame, field: str) -> pd.DataFrame:
    """Measured minus true of one quantity, where both are known.

    Returns:
        Columns scan, region, true, measured, difference.
    """
    pairs = table.rename(columns={f"true_{field}": "true", field: "measured"})
    pairs = pairs.dropna(subset=["true", "measured"])[["scan", "region", "true", "measured"]]
    return pairs.assign(difference=pairs["measured"].astype(float) - pairs["true"].astype(float))


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Bias and 95 % limits of agreement by quantity and region.

    The limits are those of Bland and Altman, Stat Methods Med Res 1999;8:135-160.

    Args:
        table: rows of `compare_scan`.

    Returns:
        Columns quantity, region, vertebrae, scans, bias, sd, lower_limit, upper_limit (bias -/+
        1.96 SD); not-a-number where fewer than two vertebrae were measured.
    """
    rows = []
    for field, title in QUANTITIES.items():
        pairs = differences(table, field)
        for region in ("all", *REGIONS.values()):
            part = pairs if region == "all" else pairs[pairs["region"] == region]
            bias, deviation = part["difference"].mean(), part["difference"].std()
            rows.append(
                {
                    "quantity": title,
                    "region": region,
                    "vertebrae": len(part),
                    "scans": part["scan"].nunique(),
                    "bias": bias,
                    "sd": deviation,
                    "lower_limit": bias - 1.96 * deviation,
                    "upper_limit": bias + 1.96 * deviation,
                }
            )
    return pd.DataFrame(rows)


def grade_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Vertebrae by kind of fracture (rows, "none" included) and given grade (columns)."""
    graded = table.dropna(subset=["genant_grade"]).astype({"genant_grade": int})
    counts = graded.groupby(["fracture", "genant_grade"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=range(4), fill_value=0)
    return counts.rename(columns=lambda grade: f"grade_{grade}").reset_index()


def _read_truth(sample: Sample) -> dict[str, Any]:
    """Description of a phantom, which the generator writes beside the mask."""
    path = phantom_truth_path(sample.mask)
    try:
        truth = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{path}: the description of the phantom cannot be read ({error})."
        ) from None
    if "calibration_offset_hu" not in truth:
        raise UserError(
            f"{path}: the entry calibration_offset_hu is missing. Generate the phantoms anew."
        )
    return truth


def _true_values(truth: dict[str, Any], name: str) -> dict[str, float]:
    heights = truth["body_heights_mm"].get(name, {})
    return {
        "true_trabecular_hu": truth["trabecular_hu"][name] + truth["calibration_offset_hu"],
        **{f"true_height_{place}_mm": heights.get(place, np.nan) for place in PLACES},
    }


def found_labels(reference: Centres, predicted: Centres) -> set[int]:
    """Labels whose predicted centre is within 20 mm of the true one and nearest to it."""
    labels = list(reference)
    points = np.array([reference[label] for label in labels])
    found = set()
    for label in reference.keys() & predicted.keys():
        distances = np.linalg.norm(points - predicted[label], axis=1)
        if distances.min() <= TOLERANCE_MM and labels[int(distances.argmin())] == label:
            found.add(label)
    return found
