"""Measures of a predicted label map or of predicted centres against a reference.

All functions are pure; `docs/evaluation.md` states the rules and their reasons. Label maps are
integer arrays (x, y, z) with VerSe's values; points are world coordinates in mm.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from statistics import median

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.centroids import TOLERANCE_MM, Centres
from vertseg.anatomy.label_maps import label_boxes, labelled_box
from vertseg.anatomy.labels import BACKGROUND, IDS, NAMES, NUM_CLASSES, RANK

_COUNTED_AS = np.array([value if value in NAMES else BACKGROUND for value in range(NUM_CLASSES)])
"""The value that each of VerSe's counts as in a measure."""


@dataclass(frozen=True)
class Identification:
    """Outcome of VerSe's identification test.

    Attributes:
        hits: whether each reference vertebra is identified, by label.
        distances_mm: distance of the two points, by label, for labels in both sets.
        n_predicted: number of predicted vertebrae.
    """

    hits: dict[int, bool]
    distances_mm: dict[int, float]
    n_predicted: int

    @property
    def rate(self) -> float:
        """VerSe's identification rate, hits / reference vertebrae; NaN without any."""
        return _ratio(sum(self.hits.values()), len(self.hits))

    @property
    def precision(self) -> float:
        """Hits / predicted vertebrae; NaN without any."""
        return _ratio(sum(self.hits.values()), self.n_predicted)

    @property
    def localisation_error_mm(self) -> float:
        """VerSe's d_mean, the mean distance of the identified vertebrae; NaN without any."""
        return _mean([self.distances_mm[label] for label, hit in self.hits.items() if hit])


@dataclass(frozen=True)
class SurfaceDistance:
    """Distances between two surfaces in mm: the largest, the 95th percentile, and the mean."""

    hausdorff_mm: float
    hd95_mm: float
    mean_mm: float


def confusion(reference: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count voxels by reference label (rows) and predicted label (columns).

    A sacrum is background: networks may learn it, but it is no vertebra. Voxels that are background
    in both are not counted: no measure here needs them.

    Args:
        reference: label map.
        predicted: label map of the same shape.

    Returns:
        Counts (29, 29), int64.

    Raises:
        ValueError: shapes differ, or a value is outside 0-28.
    """
    if reference.shape != predicted.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {predicted.shape}")
    for values in (reference, predicted):
        if values.size and not 0 <= values.min() <= values.max() < NUM_CLASSES:
            raise ValueError(f"label values must lie in 0-{NUM_CLASSES - 1}")
    boxes = [box for box in map(labelled_box, (reference, predicted)) if box]
    if not boxes:
        return np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    seen = reduce(Box.union, boxes).slices
    pairs = _COUNTED_AS[reference[seen]] * NUM_CLASSES + _COUNTED_AS[predicted[seen]]
    counts = np.bincount(pairs.ravel(), minlength=NUM_CLASSES**2)
    counts = counts.reshape(NUM_CLASSES, NUM_CLASSES)
    counts[BACKGROUND, BACKGROUND] = 0
    return counts


def dice_per_label(counts: np.ndarray) -> dict[int, float]:
    """Dice of every label in the reference or the prediction, background excluded.

    A label in only one of the two (missed or invented) has Dice 0; a label in neither is left out.

    Args:
        counts: (29, 29) from `confusion`.

    Returns:
        Dice in [0, 1] by label value, ascending.
    """
    sizes = counts.sum(axis=0) + counts.sum(axis=1)
    present = [label for label in range(1, NUM_CLASSES) if sizes[label]]
    return {label: float(2 * counts[label, label] / sizes[label]) for label in present}


def multi_label_dice(counts: np.ndarray) -> float:
    """Mean Dice of a scan over the labels in its reference or its prediction.

    Args:
        counts: (29, 29) from `confusion`.

    Returns:
        Mean of `dice_per_label`; 1 if neither holds a vertebra.
    """
    dice = dice_per_label(counts)
    return _mean(list(dice.values())) if dice else 1.0


def multi_label_dice_reference_labels(counts: np.ndarray) -> float:
    """Mean Dice of a scan over the labels in its reference: invented vertebrae do not count.

    Args:
        counts: (29, 29) from `confusion`.

    Returns:
        The mean; NaN if the reference holds no vertebra.
    """
    reference_sizes = counts.sum(axis=1)
    dice = dice_per_label(counts)
    return _mean([value for label, value in dice.items() if reference_sizes[label]])


def multi_label_dice_interior(counts: np.ndarray, boundary: Collection[int]) -> float:
    """Mean Dice of a scan without the vertebrae that its field of view cuts.

    Args:
        counts: (29, 29) from `confusion`.
        boundary: labels to leave out, from `boundary_labels`.

    Returns:
        The mean; NaN if all labels are left out, 1 if neither map holds a vertebra.
    """
    dice = dice_per_label(counts)
    interior = [value for label, value in dice.items() if label not in boundary]
    return _mean(interior) if dice else 1.0


def binary_dice(counts: np.ndarray) -> float:
    """Dice of all vertebrae against background, whatever their labels.

    Args:
        counts: (29, 29) from `confusion`.

    Returns:
        Dice in [0, 1]; 1 if neither reference nor prediction holds a vertebra.
    """
    size = counts[1:].sum() + counts[:, 1:].sum()
    return float(2 * counts[1:, 1:].sum() / size) if size else 1.0


def identification(reference: Centres, predicted: Centres) -> Identification:
    """VerSe's identification test (Sekuboyina et al. 2021; `eval_utilities.py` of anjany/verse).

    Only labels in both sets enter. Predicted label i identifies its vertebra if, among the
    reference points of those labels, the nearest is i and at most 20 mm away.

    Args:
        reference: points in mm by label.
        predicted: points in mm by label.
    """
    common = sorted(reference.keys() & predicted.keys())
    hits = dict.fromkeys(sorted(reference), False)
    distances_mm: dict[int, float] = {}
    if common:
        matrix = _distances([predicted[i] for i in common], [reference[i] for i in common])
        for row, label in enumerate(common):
            distances_mm[label] = float(matrix[row, row])
            nearest = int(matrix[row].argmin())
            hits[label] = nearest == row and distances_mm[label] <= TOLERANCE_MM
    return Identification(hits, distances_mm, len(predicted))


def label_offsets(reference: Centres, predicted: Centres) -> dict[int, int]:
    """Differences between predicted and true labels of the same vertebrae, in levels.

    A reference and a predicted vertebra match if each is the other's nearest and they are at most
    20 mm apart. The offset counts steps along the spine, positive downwards; T13 is a step only
    in scans whose reference or prediction holds it.

    Args:
        reference: points in mm by label.
        predicted: points in mm by label.

    Returns:
        Offset by reference label, for the matched reference vertebrae.
    """
    if not reference or not predicted:
        return {}
    rank = _scan_ranks(reference.keys() | predicted.keys())
    ours, theirs = list(reference), list(predicted)
    matrix = _distances(list(reference.values()), list(predicted.values()))
    offsets = {}
    for row, label in enumerate(ours):
        column = int(matrix[row].argmin())
        mutual = int(matrix[:, column].argmin()) == row
        if mutual and matrix[row, column] <= TOLERANCE_MM:
            offsets[label] = rank[theirs[column]] - rank[label]
    return offsets


def common_shift(offsets: dict[int, int], n_reference: int) -> int | None:
    """The offset that all matched vertebrae of a scan share.

    Args:
        offsets: from `label_offsets`.
        n_reference: number of reference vertebrae.

    Returns:
        0 for right labels, 1 for a spine labelled one level too low, -1 for one level too high,
        and so on; None if the offsets differ or fewer than half of the vertebrae are matched.
    """
    if len(set(offsets.values())) != 1 or 2 * len(offsets) < n_reference:
        return None
    return next(iter(offsets.values()))


def median_offset(offsets: dict[int, int]) -> float:
    """Median of a scan's label offsets; NaN if no vertebra is matched."""
    return float(median(offsets.values())) if offsets else math.nan


def surface_distances(
    reference: np.ndarray, predicted: np.ndarray, affine: np.ndarray
) -> dict[int, SurfaceDistance]:
    """Hausdorff, 95 % and mean surface distance of each label in both maps.

    A surface is the voxels of a label with a face towards another label, background or the border
    of the volume. The 95 % distance is the larger of the two directed 95th percentiles, the mean
    that of the two directed means.

    Args:
        reference: label map (x, y, z).
        predicted: label map of the same shape.
        affine: (4, 4) voxel indices to mm.

    Returns:
        Distances by label value.
    """
    reference_boxes, predicted_boxes = label_boxes(reference), label_boxes(predicted)
    distances = {}
    for label in sorted(reference_boxes.keys() & predicted_boxes.keys()):
        ours = _surface_mm(reference, label, reference_boxes[label], affine)
        theirs = _surface_mm(predicted, label, predicted_boxes[label], affine)
        directed = KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0]
        distances[label] = SurfaceDistance(
            hausdorff_mm=max(float(way.max()) for way in directed),
            hd95_mm=max(float(np.percentile(way, 95)) for way in directed),
            mean_mm=_mean([float(way.mean()) for way in directed]),
        )
    return distances


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _distances(rows: list[np.ndarray], columns: list[np.ndarray]) -> np.ndarray:
    return np.linalg.norm(np.array(rows)[:, None] - np.array(columns)[None], axis=-1)


def _scan_ranks(labels: Collection[int]) -> dict[int, int]:
    if IDS["T13"] in labels:
        return RANK
    return {label: rank - (rank > RANK[IDS["T13"]]) for label, rank in RANK.items()}


def _surface_mm(mask: np.ndarray, label: int, box: Box, affine: np.ndarray) -> np.ndarray:
    inside = mask[box.slices] == label
    surface = inside & ~ndimage.binary_erosion(inside)
    voxels = np.argwhere(surface) + box.start
    return voxels @ affine[:3, :3].T
