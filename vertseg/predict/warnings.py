"""Warnings about a prediction, in plain words."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, RANK
from vertseg.scans.volumes import Volume
from vertseg.segmentation.pieces import SMALLEST_ML, SURE, Change, Piece, Spine

DUPLICATE_SHARE = 0.3
"""Smallest share of a label's largest piece at which another piece may be a second vertebra."""

FAR_MM = 60.0
"""Distance of the two pieces from which a third of that share is enough."""

GAP_RATIO = 1.7
"""Distance of two neighbours over the distances beside it, above which a vertebra was missed."""

RANGE_TOLERANCE = 0.1
"""Share by which a scan may leave the training scans' range of voxel sizes and extents."""

_OF_OWN_LABELS = ("no_vertebra", "no_dicom_seg")
"""Codes of warnings about labels that name none."""

OPTIONAL = frozenset({IDS["T13"], IDS["L6"]})
"""Vertebrae that most people do not have."""


@dataclass(frozen=True)
class PredictionWarning:
    """A reason to check a prediction.

    Attributes:
        code: fixed word for programs.
        labels: the vertebrae concerned; empty for a warning about the whole scan.
        message: plain words for people.
    """

    code: str
    labels: tuple[int, ...]
    message: str


def warnings_about(
    ct: Volume, spine: Spine, centres: Centres, trained: Mapping[str, Any]
) -> list[PredictionWarning]:
    """All warnings about a scan's prediction.

    Args:
        ct: the scan.
        spine: the vertebrae found, and changes by the decoding.
        centres: body centres of the predicted vertebrae in mm, by label.
        trained: metadata of the model's training; `training_range` may be absent.
    """
    if not spine.confidence:
        found = [PredictionWarning("no_vertebra", (), _nothing_found(spine.dismissed))]
    else:
        found = [
            *_renamed(spine.changes),
            *_out_of_order(centres),
            *_gaps(centres),
            *_duplicates(spine),
            *_apart(spine.dismissed),
            *_low_confidence(spine.confidence),
        ]
    return [*found, *_header(ct), *_acquisition(ct, trained.get("training_range"))]


def warnings_after_correction(
    before: Sequence[Mapping[str, Any]], centres: Centres, confidence: Mapping[int, float]
) -> list[PredictionWarning]:
    """Warnings about a scan whose labels a reader has corrected.

    Those about the whole scan remain. Those about vertebrae follow from the new labels; what the
    network said of its own labels has been seen to.

    Args:
        before: warnings about the network's result, as `result.schema.json` describes them.
        centres: body centres in mm, by new label.
        confidence: of the network in each vertebra's cells, by new label.
    """
    found = [*_out_of_order(centres), *_gaps(centres)] if centres else []
    whole = [
        PredictionWarning(one.get("code", ""), (), one["message"])
        for one in before
        if not one.get("labels") and one.get("code") not in _OF_OWN_LABELS
    ]
    return [*found, *_low_confidence(confidence), *whole]


def heights_along_spine(centres: Centres) -> dict[int, float]:
    """Position of each centre in mm along the line that fits them best, upwards."""
    points = np.array(list(centres.values()))
    offsets = points - points.mean(axis=0)
    direction = np.linalg.svd(offsets, full_matrices=False)[2][0]
    direction = direction if direction[2] >= 0 else -direction
    return dict(zip(centres, (offsets @ direction).tolist(), strict=True))


def _renamed(changes: Sequence[Change]) -> list[PredictionWarning]:
    return [
        PredictionWarning(
            "renamed",
            (change.after or change.before,),
            f"The network's {NAMES[change.before]} ({change.volume_ml:.1f} ml) "
            + (f"is named {NAMES[change.after]}" if change.after else "was left out")
            + ", as the order of the spine's labels makes more probable.",
        )
        for change in changes
    ]


def _out_of_order(centres: Centres) -> list[PredictionWarning]:
    heights = heights_along_spine(centres)
    labels = sorted(heights, key=RANK.__getitem__)
    return [
        PredictionWarning(
            "out_of_order",
            (upper, lower),
            f"{NAMES[lower]} lies above {NAMES[upper]}: their labels are out of order.",
        )
        for upper, lower in itertools.pairwise(labels)
        if heights[lower] >= heights[upper]
    ]


def _gaps(centres: Centres) -> list[PredictionWarning]:
    labels = sorted(centres, key=RANK.__getitem__)
    pairs = list(itertools.pairwise(labels))
    steps = [float(np.linalg.norm(centres[a] - centres[b])) for a, b in pairs]
    found = []
    for index, (upper, lower) in enumerate(pairs):
        between = [
            label for label in CRANIOCAUDAL[RANK[upper] + 1 : RANK[lower]] if label not in OPTIONAL
        ]
        where = f"between {NAMES[upper]} and {NAMES[lower]}"
        if between:
            names = ", ".join(NAMES[label] for label in between)
            message = f"{names} missing {where}."
        elif _is_wide(steps, index):
            message = (
                f"The distance {where}, {steps[index]:.0f} mm, is that of two levels: a vertebra "
                "may have been missed and the labels beyond it may be shifted."
            )
        else:
            continue
        found.append(PredictionWarning("gap", (upper, lower), message))
    return found


def _is_wide(steps: Sequence[float], index: int) -> bool:
    """Whether a step is much longer than the steps beside it."""
    around = [steps[i] for i in (index - 1, index + 1) if 0 <= i < len(steps)]
    return bool(around) and steps[index] > GAP_RATIO * max(around)


def _nothing_found(dismissed: Mapping[int, float]) -> str:
    if not dismissed:
        return "No vertebra was found in this scan."
    return (
        "No vertebra was found in this scan; candidates of at most "
        f"{max(dismissed.values()):.0%} confidence were left out."
    )


def _apart(dismissed: Mapping[int, float]) -> list[PredictionWarning]:
    if not dismissed:
        return []
    names = ", ".join(NAMES[label] for label in dismissed)
    message = f"Cells labelled {names} lay apart from the spine and were left out."
    return [PredictionWarning("apart", tuple(dismissed), message)]


def _duplicates(spine: Spine) -> list[PredictionWarning]:
    largest: dict[int, Piece] = {}
    for piece in spine.pieces:
        before = largest.get(piece.label)
        if piece.volume_ml >= SMALLEST_ML and (
            before is None or piece.volume_ml > before.volume_ml
        ):
            largest[piece.label] = piece
    return [
        PredictionWarning(
            "duplicate",
            (piece.label,),
            f"A second piece of {NAMES[piece.label]}, {piece.volume_ml:.1f} ml and "
            f"{piece.distance_mm:.0f} mm from the first, was relabelled or left out.",
        )
        for piece in largest.values()
        if piece.share >= DUPLICATE_SHARE
        or (piece.distance_mm >= FAR_MM and piece.share >= DUPLICATE_SHARE / 3)
    ]


def unsure_labels(confidence: Mapping[int, float]) -> tuple[int, ...]:
    """Labels of the vertebrae of low confidence."""
    return tuple(label for label, value in confidence.items() if value < SURE)


def _low_confidence(confidence: Mapping[int, float]) -> list[PredictionWarning]:
    if not (low := unsure_labels(confidence)):
        return []
    names = ", ".join(f"{NAMES[label]} ({confidence[label]:.0%})" for label in low)
    return [PredictionWarning("low_confidence", low, f"The network is unsure about {names}.")]


def _header(ct: Volume) -> list[PredictionWarning]:
    return [PredictionWarning("header", (), remark) for remark in ct.remarks]


def _acquisition(ct: Volume, training_range: Mapping[str, Any] | None) -> list[PredictionWarning]:
    if training_range is None:
        message = (
            "The model states no range of its training scans: whether this scan lies within it is "
            "unknown."
        )
        return [PredictionWarning("unknown_range", (), message)]
    spacing, extent = (np.array(training_range[key]) for key in ("spacing_mm", "extent_mm"))
    extent_mm = np.array(ct.array.shape) * ct.spacing_mm
    found = []
    # Voxels finer than in training do no harm: they are averaged to the network's cells.
    if np.any(ct.spacing_mm > spacing[1] * (1 + RANGE_TOLERANCE)):
        found.append(
            PredictionWarning(
                "spacing",
                (),
                f"The voxels, {_millimetres(ct.spacing_mm)}, are coarser than any that the network "
                f"was trained on (up to {_millimetres(spacing[1])}).",
            )
        )
    too_small = extent_mm < extent[0] * (1 - RANGE_TOLERANCE)
    if np.any(too_small | (extent_mm > extent[1] * (1 + RANGE_TOLERANCE))):
        found.append(
            PredictionWarning(
                "field_of_view",
                (),
                f"The field of view, {_millimetres(extent_mm)}, lies outside the range that the "
                f"network was trained on ({_millimetres(extent[0])} to {_millimetres(extent[1])}).",
            )
        )
    return found


def _millimetres(values: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in values) + " mm"
