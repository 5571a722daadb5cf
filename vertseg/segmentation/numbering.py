"""Numbering of vertebrae: the most probable levels of pieces that lie below each other.

The network's probabilities are evidence for the level of each piece, and the distances between
neighbours are compared with those of the levels in people. `ways` has the levels that fit both
best, and the probability of all others (docs/decoding.md).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import BACKGROUND, NUM_CLASSES, SACRUM
from vertseg.segmentation.pieces import IMPOSSIBLE, Certainty, Change
from vertseg.segmentation.spine_model import CAUTIOUS, NETWORK, SpineModel
from vertseg.segmentation.ways import Candidates, Ways

LEAST_PROBABILITY = 0.001
"""Lower limit of a network's softmax in the evidence: no label is ruled out."""

TERRITORY_MM = 10.0
"""Reach of an exchange of logits around a piece: further than interpolation reads."""


@dataclass(frozen=True)
class Numbering:
    """The most probable labels of a spine's pieces together, and how probable others are.

    Attributes:
        labels: (n,) labels; `BACKGROUND` for pieces that are not vertebrae, `SACRUM` for S1.
        levels: (n, C) probability of each label for each piece.
        whole: probability that all pieces have the right labels; those of pieces without a
            vertebra's name are right if they are not vertebrae or S1.
        shifted: probability that all vertebrae lie one level higher (-1) or lower (1) than named.
        variants: probability of each variant in `VARIANTS`.
    """

    labels: np.ndarray
    levels: np.ndarray
    whole: float
    shifted: Mapping[int, float]
    variants: Mapping[str, float]

    @property
    def right(self) -> np.ndarray:
        """Probability (n,) that each piece has the right label."""
        none = [BACKGROUND, SACRUM]
        own = self.levels[np.arange(len(self.labels)), self.labels]
        return np.where(np.isin(self.labels, none), self.levels[:, none].sum(axis=1), own)

    def certainty(self) -> Certainty:
        """The probabilities of the named vertebrae, rounded; of two halves, the smaller one."""
        right: dict[int, float] = {}
        for label, probability in zip(self.labels.tolist(), self.right.tolist(), strict=True):
            if label not in (BACKGROUND, SACRUM):
                right[label] = round(min(probability, right.get(label, 1.0)), 4)
        return Certainty(
            right,
            round(self.whole, 4),
            {down: round(value, 4) for down, value in self.shifted.items()},
            {name: round(value, 4) for name, value in self.variants.items()},
        )


def most_probable_levels(
    evidence: np.ndarray, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel
) -> np.ndarray:
    """The most probable labels of all pieces of a spine together.

    Args:
        evidence: as for `number_levels`, like the others.
        centres_mm: centres of the pieces.
        sizes: sizes of the pieces.
        model: model of spines.

    Returns:
        (n,) labels; `BACKGROUND` for pieces that are not vertebrae, `SACRUM` for S1.
    """
    spine = Candidates(centres_mm, sizes, model)
    return _most_probable(spine, spine.ways(evidence), evidence)[0]


def number_levels(
    evidence: np.ndarray,
    centres_mm: np.ndarray,
    sizes: np.ndarray,
    model: SpineModel,
    labels: np.ndarray | None = None,
) -> Numbering:
    """The most probable labels of all pieces of a spine, with the probabilities of all others.

    Each piece is a vertebra, one half of a vertebra whose other half is the next piece, less than
    `ways.HALVES_MM` away, or not a vertebra. Levels follow each other downwards; some may be
    missing. All enumeration variants and several sizes of a person are tried. Probabilities are
    sums over all possible answers; the labels are the most probable ones among the best answers
    for each size.

    Args:
        evidence: (n, C) log-probability of each label for each piece, cranial to caudal; of
            `BACKGROUND` for pieces that are not vertebrae, of `SACRUM` for S1.
        centres_mm: (n, 3) centres of the pieces.
        sizes: (n,) sizes of the pieces, by which two halves are weighted.
        model: model of spines.
        labels: (n,) labels to take instead of the most probable ones.
    """
    spine = Candidates(centres_mm, sizes, model)
    ways = spine.ways(evidence)
    if labels is None:
        labels, whole = _most_probable(spine, ways, evidence)
    else:
        whole = spine.ways(_limited(evidence, [_same(label) for label in labels])).total
    shifted = {
        down: spine.ways(
            _limited(evidence, [_shifted(label, down, model) for label in labels])
        ).total
        if not np.isin(labels, [BACKGROUND, SACRUM]).all()
        else -math.inf
        for down in (-1, 1)
    }
    return Numbering(
        labels,
        ways.levels(),
        math.exp(whole - ways.total),
        {down: math.exp(value - ways.total) for down, value in shifted.items()},
        ways.variants(),
    )


def _most_probable(spine: Candidates, ways: Ways, evidence: np.ndarray) -> tuple[np.ndarray, float]:
    """The labels (n,) of all pieces that are most probable, and their log-probability."""
    best, whole = np.full(len(evidence), BACKGROUND), -math.inf
    for labels in np.unique(ways.best_labels(), axis=0):
        log_probability = spine.ways(_limited(evidence, [_same(label) for label in labels])).total
        if log_probability > whole:
            best, whole = labels, log_probability
    return best, whole


def log_probability(
    labels: np.ndarray,
    evidence: np.ndarray,
    centres_mm: np.ndarray,
    sizes: np.ndarray,
    model: SpineModel,
) -> float:
    """Logarithm of the probability that all pieces have given labels.

    Args:
        labels: (n,) labels; `BACKGROUND` and `SACRUM` mean the same.
        evidence: as for `number_levels`, like the others.
        centres_mm: centres of the pieces.
        sizes: sizes of the pieces.
        model: model of spines.
    """
    spine = Candidates(centres_mm, sizes, model)
    limited = _limited(evidence, [_same(int(label)) for label in labels])
    return spine.ways(limited).total - spine.ways(evidence).total


def log_total(
    evidence: np.ndarray, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel
) -> float:
    """Logarithm of the sum of the probabilities of all labels that the pieces may have.

    Compares two divisions of the same bone into pieces.

    Args:
        evidence: as for `number_levels`, like the others.
        centres_mm: centres of the pieces.
        sizes: sizes of the pieces.
        model: model of spines.
    """
    return Candidates(centres_mm, sizes, model).ways(evidence).total


def put_in_order(
    logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[tuple[Change, ...], Certainty | None]:
    """Give the labels of one spine their most probable order; both arrays are changed.

    Args:
        logits: (C, X, Y, Z) floating.
        label_map: labels (X, Y, Z) uint8 of the largest logits, each label one piece.
        cell_mm: size of a cell along x, y and z.

    Returns:
        The changed vertebrae, cranial first, and the probability of the new labels; None for an
        empty map.
    """
    centres = body_centres(label_map, np.diag([*cell_mm, 1.0]))
    # In all scans behind `STEP_MM`, the centres of vertebrae descend from level to level.
    labels = sorted(centres, key=lambda label: -centres[label][2])
    if not labels:
        return (), None
    cells = np.array([np.count_nonzero(label_map == label) for label in labels])
    evidence = np.stack([_evidence(logits[:, label_map == label]) for label in labels])
    if not knows_sacrum(logits):
        evidence[:, SACRUM] = evidence[:, BACKGROUND]
    points = np.stack([centres[label] for label in labels])
    best = most_probable_levels(evidence, points, cells, NETWORK)
    numbering = number_levels(evidence, points, cells, CAUTIOUS, best)
    decoded = np.where(best == SACRUM, BACKGROUND, best)
    changes = [
        Change(label, int(new), round(float(n * np.prod(cell_mm)) / 1000, 2))
        for label, new, n in zip(labels, decoded, cells, strict=True)
        if new != label
    ]
    _apply(changes, logits, label_map, cell_mm)
    return tuple(changes), numbering.certainty()


def knows_sacrum(logits: np.ndarray) -> bool:
    """Whether a network has a class for the sacrum; to others the sacrum is background.

    Args:
        logits: (C, X, Y, Z).
    """
    return len(logits) > SACRUM and bool((logits[SACRUM] > IMPOSSIBLE).any())


def _same(label: int) -> Collection[int]:
    """Labels that mean the same of a piece."""
    none = (BACKGROUND, SACRUM)
    return none if label in none else (label,)


def _shifted(label: int, down: int, model: SpineModel) -> Collection[int]:
    """Labels of a piece if all vertebrae lie one level higher or lower than named."""
    if label in (BACKGROUND, SACRUM):
        return range(NUM_CLASSES)
    below = model.graph.below
    if down > 0:
        return below[label]
    return [upper for upper, lower in below.items() if label in lower]


def _limited(evidence: np.ndarray, labels: Sequence[Collection[int]]) -> np.ndarray:
    """Evidence (n, C) that rules out all labels of each piece but some."""
    limited = np.full(evidence.shape, -math.inf)
    for row, before, allowed in zip(limited, evidence, labels, strict=True):
        row[list(allowed)] = before[list(allowed)]
    return limited


def _evidence(logits: np.ndarray) -> np.ndarray:
    """Mean log-softmax (C,) of a piece's cells (C, n)."""
    scores = logits - logits.max(axis=0)
    probability = np.exp(scores) / np.exp(scores).sum(axis=0)
    return np.log(np.maximum(probability, LEAST_PROBABILITY)).mean(axis=1)


def _apply(
    changes: Sequence[Change], logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> None:
    """Rename or remove pieces; both arrays are changed."""
    if not changes:
        return
    before = label_map.copy()
    to_piece, nearest = ndimage.distance_transform_edt(
        before == BACKGROUND, sampling=cell_mm, return_indices=True
    )
    owner = np.where(to_piece <= TERRITORY_MM, before[tuple(nearest)], BACKGROUND)
    for change in changes:
        piece = before == change.before
        if change.after == BACKGROUND:
            logits[1:, piece] = IMPOSSIBLE
            label_map[piece] = BACKGROUND
            continue
        # Interpolation reads the cells around a piece too.
        around = owner == change.before
        one, other = logits[change.before], logits[change.after]
        one[around], other[around] = other[around], one[around]
        label_map[piece] = change.after
