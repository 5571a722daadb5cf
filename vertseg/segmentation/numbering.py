"""Labels of a spine come in order: the most probable levels of vertebrae that lie below each other.

Each piece of a label map says by itself which level it may be; neighbours are as far apart as their
levels are in people. Dynamic programming finds the levels that fit both best (docs/decoding.md).
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
"""Distance between neighbours' body centres in mm, geometric mean over people of mean size.

From the reference points of ImFusion VID keypoints (CC BY-SA 4.0), 1947 CT scans, by `python -m
studies.numbering_on_detections`. These have no T13: its two steps are between its neighbours'.
"""
# fmt: on

VARIANTS: Mapping[str, float] = {"T13": 0.017, "no T12": 0.005, "L6": 0.026, "no L5": 0.028}
"""How common enumeration variants are.

L6 and a missing T12: ImFusion VID keypoints (46 of 1733 scans that show L5, 8 of 1765 that show T11
and L1). One vertebra more was found in 18 of 418 spines, one less in 14 (Tins et al., Insights
Imaging 2016;7:199): T13 and a missing L5 are the rest of these.
"""

SACRUM = next(label for label, name in UNANNOTATED.items() if name == "sacrum")

TAILS = 4.0
"""Degrees of freedom of Student's t: fractures and centres that miss are not that rare."""

LEAST_PROBABILITY = 0.001
"""A network's softmax never rules a label out by more than this."""

TERRITORY_MM = 10.0
"""Logits are exchanged as far as this around a piece: further than interpolation reads."""

_SIZES = np.linspace(-2, 2, 9)
_T_PEAK = math.lgamma((TAILS + 1) / 2) - math.lgamma(TAILS / 2) - math.log(TAILS * math.pi) / 2


@dataclass(frozen=True)
class SpineModel:
    """What is known of spines, and of what finds their vertebrae.

    Attributes:
        step_mm: distance between neighbours, by their names.
        step_sd: scale of the distances' logarithm about a person's own.
        size_sd: SD of the logarithm of people's size.
        missed: log-probability that a level has no piece.
        extra: log-probability that a piece is no vertebra.
        halved: log-probability that a vertebra is two pieces.
        variants: probabilities of those in `VARIANTS`.
        first: (C,) log-probability of each label to be the uppermost one found.
        last: (27,) log-probability that the lowest one found lies so many levels above the sacrum.
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
    """The labels that pieces of a spine most probably have, together.

    Every piece is a vertebra, half of one with the next piece, or none; vertebrae's levels follow
    each other downwards, some may be missing. All enumeration variants and sizes of a person are
    tried.

    Args:
        evidence: (n, C) log-probability of each label for each piece, cranial to caudal; that of
            `BACKGROUND` is for no vertebra, that of `SACRUM` for S1.
        centres_mm: (n, 3) of the pieces.
        sizes: (n,) weights of halves.
        model: what is known of spines.

    Returns:
        (n,) labels; `BACKGROUND` for pieces that are no vertebra, `SACRUM` for S1.
    """
    none = np.concatenate([[0], np.cumsum(evidence[:, BACKGROUND] + model.extra)])
    best, labels = float(none[-1]), np.full(len(evidence), BACKGROUND)
    runs = _runs(evidence, centres_mm, sizes, model)
    for chain, prior in _chains(model):
        score, path = _best_path(runs, chain, none, model)
        if score + prior > best:
            best = score + prior
            labels = np.full(len(evidence), BACKGROUND)
            for run, level in path:
                labels[run.start : run.stop] = chain.labels[level]
    return labels


def put_in_order(
    logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[Change, ...]:
    """Give the labels of one spine their most probable order; both arrays are changed.

    Args:
        logits: (C, X, Y, Z) floating.
        label_map: their largest (X, Y, Z) uint8, each label one piece.
        cell_mm: size of a cell.

    Returns:
        What was changed, cranial first.
    """
    centres = body_centres(label_map, np.diag([*cell_mm, 1.0]))
    # No lower vertebra lies above an upper one in any of the scans behind `STEP_MM`.
    labels = sorted(centres, key=lambda label: -centres[label][2])
    if not labels:
        return ()
    cells = np.array([np.count_nonzero(label_map == label) for label in labels])
    evidence = np.stack([_evidence(logits[:, label_map == label]) for label in labels])
    # No network learns the sacrum: to all of them it is background.
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
class _Run:
    """Pieces start to stop (not included) as one vertebra."""

    start: int
    stop: int
    evidence: np.ndarray
    centre_mm: np.ndarray


@dataclass(frozen=True)
class _Chain:
    """The levels (m,) of a variant down to S1, and how far below the first each lies in mm."""

    labels: np.ndarray
    place_mm: np.ndarray


def _runs(
    evidence: np.ndarray, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel
) -> list[_Run]:
    """Every piece, and every two neighbours, as a vertebra."""
    runs = []
    for stop in range(1, len(evidence) + 1):
        runs.append(_Run(stop - 1, stop, evidence[stop - 1], centres_mm[stop - 1]))
        if stop >= 2 and math.isfinite(model.halved):
            two = slice(stop - 2, stop)
            share = sizes[two] / sizes[two].sum()
            runs.append(
                _Run(stop - 2, stop, share @ evidence[two] + model.halved, share @ centres_mm[two])
            )
    return runs


def _chains(model: SpineModel) -> list[tuple[_Chain, float]]:
    """Enumeration variants with the logarithm of how common they are."""
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
    """From a vertebra to the next one found below it, along a chain of m levels.

    Attributes:
        expected_log_mm: (sizes, m, m) logarithm of the distance, by a person's size, upper and
            lower level.
        spread: (m, m) scale of that logarithm, by upper and lower level.
        score: (m, m) log-probability of missing the levels between, and of the t-distribution's
            peak; -inf where the lower level is not below the upper one.
    """

    expected_log_mm: np.ndarray
    spread: np.ndarray
    score: np.ndarray

    @classmethod
    def along(cls, chain: _Chain, model: SpineModel) -> "_Hops":
        """All hops of a chain."""
        rank = np.arange(len(chain.labels))
        levels_down = rank[None, :] - rank[:, None]
        is_below = levels_down > 0
        distance_mm = chain.place_mm[None, :] - chain.place_mm[:, None]
        log_mm = np.log(np.where(is_below, distance_mm, 1))
        spread = model.step_sd / np.sqrt(np.maximum(levels_down, 1))
        score = (levels_down - 1) * model.missed - np.log(spread) + _T_PEAK
        return cls(
            log_mm + (model.size_sd * _SIZES)[:, None, None],
            spread,
            np.where(is_below, score, -np.inf),
        )

    def to(self, distance_mm: float) -> np.ndarray:
        """Log-probability (sizes, m, m) that a hop is so long."""
        residual = (math.log(max(distance_mm, 1e-3)) - self.expected_log_mm) / self.spread
        return self.score - (TAILS + 1) / 2 * np.log1p(residual**2 / TAILS)


@dataclass(frozen=True)
class _Arrival:
    """The best ways down to a run, for each size of a person and each level of the run.

    Attributes:
        score: (sizes, m) of the best way.
        upper_run: (sizes, m) index of the run above on that way, -1 if this is the first.
        upper_level: (sizes, m) level of that run.
    """

    score: np.ndarray
    upper_run: np.ndarray
    upper_level: np.ndarray


def _best_path(
    runs: Sequence[_Run], chain: _Chain, none: np.ndarray, model: SpineModel
) -> tuple[float, list[tuple[_Run, int]]]:
    """The best score along a chain, and its vertebrae with their places in the chain.

    Args:
        runs: in the order of their ends.
        chain: m levels.
        none: (n + 1,) score of leaving out the pieces before each.
        model: what is known of spines.
    """
    if not runs:
        return -math.inf, []
    hops = _Hops.along(chain, model)
    arrivals: list[_Arrival] = []
    for run in runs:
        arrivals.append(_arrive(run, runs, arrivals, chain, hops, none, model))
    after_last = model.last[: len(chain.labels)][::-1]
    ends = [
        arrival.score + after_last + none[-1] - none[run.stop]
        for run, arrival in zip(runs, arrivals, strict=True)
    ]
    last = int(np.argmax([end.max() for end in ends]))
    size, level = map(int, np.unravel_index(ends[last].argmax(), ends[last].shape))
    return float(ends[last].max()), _way_to(last, size, level, runs, arrivals)


def _arrive(
    run: _Run,
    runs: Sequence[_Run],
    arrivals: Sequence[_Arrival],
    chain: _Chain,
    hops: _Hops,
    none: np.ndarray,
    model: SpineModel,
) -> _Arrival:
    """The best ways down to a run, as the first vertebra or from any run above it."""
    size_score = -(_SIZES**2)[:, None] / 2
    score = model.first[chain.labels] + size_score + none[run.start]
    upper_run = np.full(score.shape, -1)
    upper_level = np.zeros(score.shape, int)
    for index, arrival in enumerate(arrivals):
        upper = runs[index]
        if upper.stop > run.start:
            continue
        distance_mm = float(np.linalg.norm(run.centre_mm - upper.centre_mm))
        # Axes: a person's size, level of the upper run, level of this one.
        ways = arrival.score[:, :, None] + hops.to(distance_mm)
        ways = ways + (none[run.start] - none[upper.stop])
        best = ways.max(axis=1)
        better = best > score
        score = np.where(better, best, score)
        upper_run = np.where(better, index, upper_run)
        upper_level = np.where(better, ways.argmax(axis=1), upper_level)
    return _Arrival(score + run.evidence[chain.labels], upper_run, upper_level)


def _way_to(
    last: int, size: int, level: int, runs: Sequence[_Run], arrivals: Sequence[_Arrival]
) -> list[tuple[_Run, int]]:
    """The vertebrae of the best way to a run at a level, from above, for a person's size."""
    way = []
    index = last
    while index >= 0:
        way.append((runs[index], level))
        arrival = arrivals[index]
        index, level = int(arrival.upper_run[size, level]), int(arrival.upper_level[size, level])
    return way[::-1]


def _evidence(logits: np.ndarray) -> np.ndarray:
    """Mean log-softmax (C,) of a piece's cells (C, n)."""
    scores = logits - logits.max(axis=0)
    probability = np.exp(scores) / np.exp(scores).sum(axis=0)
    return np.log(np.maximum(probability, LEAST_PROBABILITY)).mean(axis=1)


def _apply(
    changes: Sequence[Change], logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> None:
    """Rename or take away pieces; both arrays are changed."""
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
