"""Warnings about a prediction, in plain words."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, RANK
from vertseg.dataset.layout import DICOM_KINDS
from vertseg.predict.certainty import level_words, percent
from vertseg.predict.verdict import SURE_OF_ALL, Severity, level_code, severity_of
from vertseg.scans.find import STRAIGHT_CT_SUFFIX
from vertseg.scans.read import Scan
from vertseg.scans.volumes import Volume
from vertseg.screening import SpineMeasures, VertebraMeasures
from vertseg.screening.density import ENERGY_KEV
from vertseg.screening.photons import hounsfield
from vertseg.segmentation.pieces import SMALLEST_ML, SURE, Certainty, Change, Piece, Spine
from vertseg.segmentation.spine_model import usual_mm

DUPLICATE_SHARE = 0.3
"""Smallest share of a label's largest piece at which another piece may be a second vertebra."""

FAR_MM = 60.0
"""Distance of the two pieces from which a third of that share is enough."""

USUAL_RATIO = (0.6, 1.5)
"""Distance of two neighbours over the usual one of their levels, in parts of the scan's median."""

LEAST_SURE = 3
"""Number of vertebrae that a message names of those that are unsure."""

CONFIDENT = 0.8
"""Smallest mean softmax of a vertebra at which the network may be called sure.

Of vertebrae in real CT below it, less than half had the right label; of the phantoms' complete
vertebrae, one in a hundred lies below (docs/predict.md).
"""

CRUMB_ML = 5.0
"""Largest volume of a part of which nothing is said when it is left out."""

FEW = 2
"""Number of vertebrae up to which a scan that could show more is to be looked at."""

HEIGHT_OF_EACH_MM = 60.0
"""Height of a scan for each vertebra of it from which more of them would be in view."""

PATIENT_HU = -260.0
"""Lower limit of the patient's density."""

BONE_HU = 200.0
"""Lower limit of the bone by which a body is told from a cushion."""

SECOND_SHARE = 0.3
"""Smallest size of a second body, and of its bone, in parts of the patient's.

What lay beside the patient in 25 real scans had 0.014 at most.
"""

UNLIKE_HU = 30.0
"""Distance of a tissue's HU from the usual ones beyond errors of scanners and people's tissues."""

WELL_RESOLVED = 0.8
"""Share of bone assigned to single vertebrae below which vertebrae may be missed or joined."""

RANGE_TOLERANCE = 0.1
"""Share by which a scan may leave the training scans' range of voxel sizes and extents."""

_OF_OWN_LABELS = frozenset(
    [
        "no_vertebra",
        "uncertain_levels",
        "doubtful_levels",
        "not_told_apart",
        "no_bodies",
        *(f"no_dicom_{x}" for x in DICOM_KINDS),
    ]
)
"""Codes of warnings about the network's labels as a whole, or about files made of them."""

_COARSE_MM = 5.0

COARSE_OUTLINES = "coarse_outlines"
"""Code of the warning about vertebrae that keep the network's outlines."""

SHIFTS = {-1: "one_higher", 1: "one_lower"}

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

    @property
    def severity(self) -> Severity:
        """How much it says against the prediction."""
        return severity_of(self.code)

    def stated(self) -> dict[str, Any]:
        """The warning as a result states it."""
        return {**asdict(self), "severity": self.severity}


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
    if not centres:
        found = [PredictionWarning("no_vertebra", (), _nothing_found(spine))]
    else:
        found = [
            *_uncertain(spine.certainty, spine.by_order),
            *_not_told_apart(spine.resolved),
            *_out_of_order(centres),
            *_gaps(centres),
            *_few(ct, centres),
            *_renamed(spine.changes),
            *_duplicates(spine),
            *_apart(spine.dismissed),
            *_second_spine(ct, spine),
            *_low_confidence(spine.confidence),
        ]
    return [*found, *_header(ct), *_acquisition(ct, trained.get("training_range"))]


def tilt_warnings(scan: Scan) -> list[PredictionWarning]:
    """The warning about a series of a tilted gantry, whose results lie on another grid."""
    if scan.tilt is None:
        return []
    message = (
        f"The gantry was tilted by {scan.tilt.degrees:.1f} degrees. The series was resampled to a "
        "straight grid, on which label map and centres lie: show them on "
        f"{scan.name}{STRAIGHT_CT_SUFFIX}. DICOM objects lie on the series' own slices."
    )
    return [PredictionWarning("tilt", (), message)]


def body_warnings(vertebrae: Sequence[VertebraMeasures]) -> list[PredictionWarning]:
    """The warning that no body was isolated in any vertebra below C2, if there are such."""
    bodies = [one.body_volume_ml for one in vertebrae if one.name not in ("C1", "C2")]
    if not bodies or any(bodies):
        return []
    message = "In no vertebra were a body and a spinal canal behind it found."
    return [PredictionWarning("no_bodies", (), message)]


def hu_warnings(measured: SpineMeasures) -> list[PredictionWarning]:
    """The warning that HU may be shifted or scaled, where the calibration's references say so."""
    calibration = measured.calibration
    unlike = [
        f"{one.tissue} {one.hu:.0f} HU, not {usual:.0f}"
        for one in calibration.references
        if one.tissue != "blood"  # which may hold contrast agent
        and abs(one.hu - (usual := float(hounsfield(one.tissue, ENERGY_KEV)))) > UNLIKE_HU
    ]
    has_hu = any(one.trabecular_hu is not None for one in measured.vertebrae)
    if calibration.gain is not None or not unlike or not has_hu:
        return []
    message = (
        f"The HU of this scan may be shifted or scaled ({'; '.join(unlike)}): those of the "
        "vertebrae would be wrong in the same way."
    )
    return [PredictionWarning("unlike_hu", (), message)]


def outline_warnings(kept: Mapping[int, str] | None) -> list[PredictionWarning]:
    """A warning for each reason for which vertebrae keep the network's outlines."""
    by_reason: dict[str, list[int]] = {}
    for label, reason in (kept or {}).items():
        by_reason.setdefault(reason, []).append(label)
    return [
        PredictionWarning(
            COARSE_OUTLINES,
            tuple(labels),
            f"The outlines of {', '.join(NAMES[label] for label in labels)} are the network's, "
            f"not the CT's, since {reason}.",
        )
        for reason, labels in by_reason.items()
    ]


def level_probabilities(certainty: Certainty | None) -> dict[str, Any] | None:
    """Probabilities of a whole scan's levels, as `levels` in its result; None if unknown."""
    if certainty is None:
        return None
    return {
        "all_right": certainty.all_right,
        **{key: certainty.shifted[down] for down, key in SHIFTS.items()},
        "variants": certainty.variants,
    }


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


def _not_told_apart(resolved: float | None) -> list[PredictionWarning]:
    if resolved is None or resolved >= WELL_RESOLVED:
        return []
    message = (
        f"Only {100 * resolved:.0f} % of the bone could be assigned to single vertebrae by their "
        "centres: some may be missed or joined."
        if resolved
        else "Vertebrae could not be told apart by their centres: labels may run through bodies."
    )
    return [PredictionWarning("not_told_apart", (), message)]


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
        if change.after or change.volume_ml > CRUMB_ML
    ]


def _uncertain(certainty: Certainty | None, by_order: Certainty | None) -> list[PredictionWarning]:
    if certainty is None or not level_code(certainty.all_right):
        return []
    words = level_words(level_probabilities(certainty))
    unsure = tuple(label for label, right in certainty.right.items() if right < SURE_OF_ALL)
    code = level_code(certainty.all_right)
    message = f"The levels are {code.removesuffix('_levels')} ({words})."
    if by_order and by_order.all_right >= SURE_OF_ALL:
        message += " Their order fits, but not each of them is surely one vertebra."
    if unsure:
        message += f" Least sure: {_least(certainty.right, unsure)}."
    return [PredictionWarning(code, unsure, message)]


def _least(values: Mapping[int, float], labels: Sequence[int]) -> str:
    """The labels with the smallest values, in their order: "L1 (78 %), L5 (66 %) and 3 more"."""
    shown = sorted(sorted(labels, key=values.__getitem__)[:LEAST_SURE], key=labels.index)
    names = ", ".join(f"{NAMES[label]} ({percent(values[label])})" for label in shown)
    more = len(labels) - len(shown)
    return f"{names} and {more} more" if more else names


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
    ratios = [step / usual_mm(*pair) for step, pair in zip(steps, pairs, strict=True)]
    found = []
    for index, (upper, lower) in enumerate(pairs):
        between = [
            label for label in CRANIOCAUDAL[RANK[upper] + 1 : RANK[lower]] if label not in OPTIONAL
        ]
        where = f"between {NAMES[upper]} and {NAMES[lower]}"
        # A median of two or three is no measure of the person.
        person = float(np.median(ratios)) if len(ratios) > 3 else 1.0
        if between:
            names = ", ".join(NAMES[label] for label in between)
            message = f"{names} missing {where}."
        elif ratios[index] > USUAL_RATIO[1] * person:
            message = (
                f"The distance {where}, {steps[index]:.0f} mm, is that of two levels: a vertebra "
                "may have been missed and the labels beyond it may be shifted."
            )
        elif ratios[index] < USUAL_RATIO[0] * person:
            message = (
                f"The distance {where}, {steps[index]:.0f} mm, is too short: one vertebra may "
                "carry both labels and the labels beyond it may be shifted."
            )
        else:
            continue
        found.append(PredictionWarning("gap", (upper, lower), message))
    return found


def _second_spine(ct: Volume, spine: Spine) -> list[PredictionWarning]:
    if spine.beside_ml:
        what = f"Bone like that of a second spine, {spine.beside_ml:.0f} ml, lies beside the spine"
    elif share := _second_body(ct):
        what = f"A second body with bones, {percent(share)} as large, lies beside the patient"
    else:
        return []
    message = (
        f"{what} and was left out. If two patients lie in this scan, cut it in two and give each "
        "part: the vertebrae may be those of either."
    )
    return [PredictionWarning("second_spine", (), message)]


def _second_body(ct: Volume) -> float:
    """Size of the second largest object of tissue and bone in parts of the largest; 0 for none."""
    dense = _coarse(ct)[0]
    parts, count = ndimage.label(dense > PATIENT_HU)
    if count < 2:
        return 0.0
    sizes = np.bincount(parts.ravel())[1:]
    bone = np.bincount(parts[dense > BONE_HU], minlength=count + 1)[1:]
    first, second = np.argsort(-sizes, kind="stable")[:2]
    shares = sizes[second] / sizes[first], bone[second] / max(int(bone[first]), 1)
    return float(shares[0]) if min(shares) >= SECOND_SHARE else 0.0


def _coarse(ct: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Every voxel of a coarse grid, and the steps (3,) between them in voxels."""
    step = np.maximum(_COARSE_MM // ct.spacing_mm, 1).astype(int)
    return ct.array[tuple(slice(None, None, n) for n in step)], step


def _few(ct: Volume, centres: Centres) -> list[PredictionWarning]:
    height_mm = patient_extent_mm(ct)[2]
    if len(centres) > FEW or height_mm <= HEIGHT_OF_EACH_MM * len(centres):
        return []
    names = ", ".join(NAMES[label] for label in centres)
    message = (
        f"Only {names} in {height_mm:.0f} mm of the patient: check that the scan shows a spine."
    )
    return [PredictionWarning("few_vertebrae", tuple(centres), message)]


def patient_extent_mm(ct: Volume) -> np.ndarray:
    """Extent (3,) in mm of the largest connected object that is not air."""
    dense, step = _coarse(ct)
    parts, count = ndimage.label(dense > PATIENT_HU)
    if not count:
        return np.zeros(3)
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    sides = ndimage.find_objects(parts)[largest]
    voxels = [(side.stop - side.start) * n for side, n in zip(sides, step, strict=True)]
    return np.minimum(voxels, ct.array.shape) * ct.spacing_mm


def _nothing_found(spine: Spine) -> str:
    found = "No vertebra was found in this scan"
    if spine.unlike_spine:
        return f"{found}: {spine.unlike_spine}."
    if not spine.dismissed:
        return f"{found}."
    most = max(spine.dismissed.values())
    return f"{found}; candidates of at most {100 * most:.0f} % confidence were left out."


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


def unsure_labels(outline_confidence: Mapping[int, float]) -> tuple[int, ...]:
    """Labels of the vertebrae whose outlines are too unsure to be measured."""
    return tuple(label for label, value in outline_confidence.items() if value < SURE)


def _low_confidence(confidence: Mapping[int, float]) -> list[PredictionWarning]:
    low = tuple(label for label, value in confidence.items() if value < CONFIDENT)
    if not low:
        return []
    message = f"The network's own class is unsure in {_least(confidence, low)}."
    return [PredictionWarning("low_confidence", low, message)]


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
    extent_mm = patient_extent_mm(ct)
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
                f"The patient in the scan, {_millimetres(extent_mm)}, lies outside the range of "
                "the scans that the network was trained on "
                f"({_millimetres(extent[0])} to {_millimetres(extent[1])}).",
            )
        )
    return found


def _millimetres(values: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in values) + " mm"
