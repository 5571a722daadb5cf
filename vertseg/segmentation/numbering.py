"""Numbering of vertebrae: the most probable levels of pieces that lie below each other.

The network's probabilities are evidence for the level of each piece, and the distances between
neighbours are compared with those of the levels in people. Dynamic programming finds the levels
that fit both best (docs/decoding.md).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import BACKGROUND, CRANIOCAUDAL, IDS, NAMES, NUM_CLASSES, UNANNOTATED
from vertseg.segmentation.pieces import IMPOSSIBLE, Change

# fmt: off
STEP_MM: Mapping[tuple[str, str], float] = {
    ("C1", "C2"): 16.9, ("C2", "C3"): 24.1, ("C3", "C4"): 17.4, ("C4", "C5"): 16.8,
    ("C5", "C6"): 16.5, ("C6", "C7"): 17.4, ("C7", "T1"): 19.5, ("T1", "T2"): 20.6,
    ("T2", "T3"): 20.9, ("T3", "T4"): 20.9, ("T4", "T5"): 21.5, ("T5", "T6"): 22.0,
    ("T6", "T7"): 22.4, ("T7", "T8"): 23.1, ("T8", "T9"): 23.6, ("T9", "T10"): 25.1,
    ("T10", "T11"): 27.1, ("T11", "T12"): 29.5, ("T12", "L1"): 32.3, ("L1", "L2"): 34.5,
    ("L2", "L3"): 35.8, ("L3", "L4"): 36.5, ("L4", "L5"): 36.3, ("L5", "L6"): 36.2,
    ("T11", "L1"): 30.5, ("T12", "T13"): 30.9, ("T13", "L1"): 33.4,
    ("L4", "S1"): 33.4, ("L5", "S1"): 33.4, ("L6", "S1"): 33.4,
}
"""Distance between neighbours' body centres in mm: geometric mean for people of mean size.

From the reference points of 1947 CT scans in ImFusion's vertebra identification data set (Bürgin et
al., MICCAI 2023, doi:10.1007/978-3-031-43996-4_46; CC BY-SA 4.0), by
`python -m studies.numbering_on_detections`. T13 does not occur there: its two steps are chosen
between those of its neighbours.
"""
# fmt: on

VARIANTS: Mapping[str, float] = {"T13": 0.017, "no T12": 0.005, "L6": 0.026, "no L5": 0.028}
"""Probabilities of enumeration variants.

L6 and a missing T12: the data set of `STEP_MM` (46 of 1733 scans that show L5, 8 of 1765 that show
T11 and L1). T13 and a missing L5: the remainder of all additional and missing vertebrae, 18 and 14
in 418 whole spines (Tins and Balain, Insights Imaging 2016;7:199-203,
doi:10.1007/s13244-016-0468-7).
"""

SACRUM = next(label for label, name in UNANNOTATED.items() if name == "sacrum")

TAILS = 4.0
"""Degrees of freedom of Student's t, whose tails allow for fractures and misplaced centres."""

LEAST_PROBABILITY = 0.001
"""Lower limit of a network's softmax in the evidence: no label is ruled out."""

TERRITORY_MM = 10.0
"""Reach of an exchange of logits around a piece: further than interpolation reads."""

_STATURES = np.linspace(-2, 2, 9)
"""Sizes of a person that are tried, in SDs of the logarithm of people's size."""

_T_PEAK = math.lgamma((TAILS + 1) / 2) - math.lgamma(TAILS / 2) - math.log(TAILS * math.pi) / 2
"""Logarithm of the t-distribution's density at 0."""


@dataclass(frozen=True)
class SpineModel:
    """Distances and variants of spines, and errors in the detection of vertebrae.

    Attributes:
        step_mm: distance between neighbours, by their names.
        step_sd: scale of a distance's logarithm about the person's mean.
        size_sd: SD of the logarithm of people's size.
        missed: log-probability of a level without a piece.
        extra: log-probability of a piece that is not a vertebra.
        halved: log-probability of a vertebra in two pieces.
        variants: probabilities of the variants in `VARIANTS`.
        first: (C,) log-probability of each label as the uppermost one found.
        last: (27,) log-probability of the lowest level found, by its number of levels above S1.
    """

    step_mm: Mapping[tuple[str, str], float]
    step_sd: float
    size_sd: float
    missed: float
    extra: float
    halved: float
    variants: Mapping[str, float]
    first: np.ndarray
    last: np.ndarray


NETWORK = SpineModel(
    STEP_MM,
    step_sd=0.1,
    size_sd=0.062,
    missed=math.log(0.01),
    extra=math.log(0.01),
    halved=math.log(0.01),
    variants=VARIANTS,
    first=np.zeros(NUM_CLASSES),
    last=np.zeros(len(CRANIOCAUDAL) + 1),
)


def most_probable_levels(
    evidence: np.ndarray, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel
) -> np.ndarray:
    """The most probable labels of all pieces of a spine together.

    Each piece is a vertebra, one half of a vertebra whose other half is the next piece, or not a
    vertebra. Levels follow each other downwards; some may be missing. All enumeration variants and
    several sizes of a person are tried.

    Args:
        evidence: (n, C) log-probability of each label for each piece, cranial to caudal; of
            `BACKGROUND` for pieces that are not vertebrae, of `SACRUM` for S1.
        centres_mm: (n, 3) centres of the pieces.
        sizes: (n,) sizes of the pieces, by which two halves are weighted.
        model: model of spines.

    Returns:
        (n,) labels; `BACKGROUND` for pieces that are not vertebrae, `SACRUM` for S1.
    """
    discarded = np.concatenate([[0], np.cumsum(evidence[:, BACKGROUND] + model.extra)])
    best, labels = float(discarded[-1]), np.full(len(evidence), BACKGROUND)
    candidates = _candidates(evidence, centres_mm, sizes, model)
    for chain, prior in _chains(model):
        score, vertebrae = _best_vertebrae(candidates, chain, discarded, model)
        if score + prior > best:
            best = score + prior
            labels = np.full(len(evidence), BACKGROUND)
            for vertebra, level in vertebrae:
                labels[vertebra.start : vertebra.stop] = chain.labels[level]
    return labels


def put_in_order(
    logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[Change, ...]:
    """Give the labels of one spine their most probable order; both arrays are changed.

    Args:
        logits: (C, X, Y, Z) floating.
        label_map: labels (X, Y, Z) uint8 of the largest logits, each label one piece.
        cell_mm: size of a cell along x, y and z.

    Returns:
        The changed vertebrae, cranial first.
    """
    centres = body_centres(label_map, np.diag([*cell_mm, 1.0]))
    # In all scans behind `STEP_MM`, the centres of vertebrae descend from level to level.
    labels = sorted(centres, key=lambda label: -centres[label][2])
    if not labels:
        return ()
    cells = np.array([np.count_nonzero(label_map == label) for label in labels])
    evidence = np.stack([_evidence(logits[:, label_map == label]) for label in labels])
    # To every network the sacrum is background.
    evidence[:, SACRUM] = evidence[:, BACKGROUND]
    decoded = most_probable_levels(
        evidence, np.stack([centres[label] for label in labels]), cells, NETWORK
    )
    decoded[decoded == SACRUM] = BACKGROUND
    changes = [
        Change(label, int(new), round(float(n * np.prod(cell_mm)) / 1000, 2))
        for label, new, n in zip(labels, decoded, cells, strict=True)
        if new != label
    ]
    _apply(changes, logits, label_map, cell_mm)
    return tuple(changes)


@dataclass(frozen=True)
class _Candidate:
    """Pieces `start` to `stop` (not included), one or two, as one vertebra.

    Attributes:
        start: number of the first piece.
        stop: number of the first piece below.
        evidence: (C,) log-probability of each label.
        centre_mm: (3,) centre.
    """

    start: int
    stop: int
    evidence: np.ndarray
    centre_mm: np.ndarray


@dataclass(frozen=True)
class _Chain:
    """The m levels of an enumeration variant, down to S1.

    Attributes:
        labels: (m,) labels.
        place_mm: (m,) distance below the first level.
    """

    labels: np.ndarray
    place_mm: np.ndarray


def _candidates(
    evidence: np.ndarray, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel
) -> list[_Candidate]:
    """Each piece, and each two neighbouring ones, as a vertebra, in the order of their ends."""
    candidates = []
    for stop in range(1, len(evidence) + 1):
        candidates.append(_Candidate(stop - 1, stop, evidence[stop - 1], centres_mm[stop - 1]))
        if stop >= 2 and math.isfinite(model.halved):
            two = slice(stop - 2, stop)
            share = sizes[two] / sizes[two].sum()
            joint = share @ evidence[two] + model.halved
            candidates.append(_Candidate(stop - 2, stop, joint, share @ centres_mm[two]))
    return candidates


def _chains(model: SpineModel) -> list[tuple[_Chain, float]]:
    """Enumeration variants with their log-probabilities."""
    chains = []
    for thoracic, lumbar in itertools.product((None, "T13", "no T12"), (None, "L6", "no L5")):
        present = {None, thoracic, lumbar}
        names = [
            name
            for name in (NAMES[label] for label in CRANIOCAUDAL)
            if (name not in ("T13", "L6") or name in present) and f"no {name}" not in present
        ]
        place = np.cumsum(
            [0.0, *(model.step_mm[pair] for pair in itertools.pairwise([*names, "S1"]))]
        )
        prior = sum(math.log(model.variants[variant]) for variant in (thoracic, lumbar) if variant)
        chains.append((_Chain(np.array([*(IDS[name] for name in names), SACRUM]), place), prior))
    return chains


@dataclass(frozen=True)
class _Hops:
    """Hops from a vertebra to the next one found below it, along a chain of m levels.

    Attributes:
        expected_log_mm: (statures, m, m) logarithm of the distance, by stature, upper level and
            lower level.
        spread: (m, m) scale of that logarithm.
        score: (m, m) log-probability of missing the levels between, and of the t-distribution's
            peak; -inf unless the lower level is below the upper one.
    """

    expected_log_mm: np.ndarray
    spread: np.ndarray
    score: np.ndarray

    @classmethod
    def along(cls, chain: _Chain, model: SpineModel) -> "_Hops":
        """All hops along a chain."""
        rank = np.arange(len(chain.labels))
        levels_down = rank[None, :] - rank[:, None]
        is_below = levels_down > 0
        distance_mm = chain.place_mm[None, :] - chain.place_mm[:, None]
        log_mm = np.log(np.where(is_below, distance_mm, 1))
        spread = model.step_sd / np.sqrt(np.maximum(levels_down, 1))
        score = (levels_down - 1) * model.missed - np.log(spread) + _T_PEAK
        return cls(
            log_mm + (model.size_sd * _STATURES)[:, None, None],
            spread,
            np.where(is_below, score, -np.inf),
        )

    def of_length(self, distance_mm: float) -> np.ndarray:
        """Log-probability (statures, m, m) of hops of a length."""
        residual = (math.log(max(distance_mm, 1e-3)) - self.expected_log_mm) / self.spread
        return self.score - (TAILS + 1) / 2 * np.log1p(residual**2 / TAILS)


@dataclass(frozen=True)
class _Arrival:
    """The best ways down to a candidate, for each stature and each level (m) of the candidate.

    Attributes:
        candidate: the candidate.
        score: (statures, m) log-probability of the best way, the candidate included.
        previous: (statures, m) index of the arrival above on that way; -1 for none.
        previous_level: (statures, m) level of the candidate above.
    """

    candidate: _Candidate
    score: np.ndarray
    previous: np.ndarray
    previous_level: np.ndarray


def _best_vertebrae(
    candidates: Sequence[_Candidate], chain: _Chain, discarded: np.ndarray, model: SpineModel
) -> tuple[float, list[tuple[_Candidate, int]]]:
    """The best score along a chain, and its vertebrae with their places in the chain.

    Args:
        candidates: in the order of their ends.
        chain: m levels.
        discarded: (n + 1,) log-probability that none of the pieces above each is a vertebra.
        model: model of spines.
    """
    if not candidates:
        return -math.inf, []
    hops = _Hops.along(chain, model)
    arrivals: list[_Arrival] = []
    for candidate in candidates:
        arrivals.append(_arrive(candidate, arrivals, chain, hops, discarded, model))
    after_last = model.last[: len(chain.labels)][::-1]
    ends = [
        arrival.score + after_last + discarded[-1] - discarded[arrival.candidate.stop]
        for arrival in arrivals
    ]
    last = int(np.argmax([end.max() for end in ends]))
    stature, level = map(int, np.unravel_index(ends[last].argmax(), ends[last].shape))
    return float(ends[last].max()), _way_down_to(last, stature, level, arrivals)


def _arrive(
    candidate: _Candidate,
    arrivals: Sequence[_Arrival],
    chain: _Chain,
    hops: _Hops,
    discarded: np.ndarray,
    model: SpineModel,
) -> _Arrival:
    """The best ways down to a candidate, as the first vertebra or from an earlier arrival."""
    stature_score = -(_STATURES**2)[:, None] / 2
    score = model.first[chain.labels] + stature_score + discarded[candidate.start]
    previous = np.full(score.shape, -1)
    previous_level = np.zeros(score.shape, int)
    for index, arrival in enumerate(arrivals):
        upper = arrival.candidate
        if upper.stop > candidate.start:
            continue
        distance_mm = float(np.linalg.norm(candidate.centre_mm - upper.centre_mm))
        # Axes: stature, level of the upper candidate, level of this one.
        ways = arrival.score[:, :, None] + hops.of_length(distance_mm)
        ways = ways + (discarded[candidate.start] - discarded[upper.stop])
        best = ways.max(axis=1)
        better = best > score
        score = np.where(better, best, score)
        previous = np.where(better, index, previous)
        previous_level = np.where(better, ways.argmax(axis=1), previous_level)
    score = score + candidate.evidence[chain.labels]
    return _Arrival(candidate, score, previous, previous_level)


def _way_down_to(
    last: int, stature: int, level: int, arrivals: Sequence[_Arrival]
) -> list[tuple[_Candidate, int]]:
    """Vertebrae and levels, from above, of the best way to an arrival at a level."""
    way = []
    index = last
    while index >= 0:
        arrival = arrivals[index]
        way.append((arrival.candidate, level))
        index = int(arrival.previous[stature, level])
        level = int(arrival.previous_level[stature, level])
    return way[::-1]


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
