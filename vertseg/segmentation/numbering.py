"""Numbering of vertebrae: the most probable levels of pieces that lie below each other.

The network's probabilities are evidence for the level of each piece, and the distances between
neighbours are compared with those of the levels in people. Dynamic programming finds the levels
that fit both best, and the probability of all others (docs/decoding.md).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import BACKGROUND, NUM_CLASSES, SACRUM
from vertseg.segmentation.pieces import IMPOSSIBLE, Certainty, Change
from vertseg.segmentation.spine_model import CAUTIOUS, NETWORK, SMALL_SHARE, VARIANTS, SpineModel

HALVES_MM = 12.0
"""Distance between two pieces' centres from which they cannot be halves of one vertebra.

Nearer than any two vertebrae of `STEP_MM` in a small person.
"""

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
    spine = _Spine(centres_mm, sizes, model)
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
    `HALVES_MM` away, or not a vertebra. Levels follow each other downwards; some may be missing.
    All enumeration variants and several sizes of a person are tried. Probabilities are sums over
    all possible answers; the labels are the most probable ones among the best answers for each
    size.

    Args:
        evidence: (n, C) log-probability of each label for each piece, cranial to caudal; of
            `BACKGROUND` for pieces that are not vertebrae, of `SACRUM` for S1.
        centres_mm: (n, 3) centres of the pieces.
        sizes: (n,) sizes of the pieces, by which two halves are weighted.
        model: model of spines.
        labels: (n,) labels to take instead of the most probable ones.
    """
    spine = _Spine(centres_mm, sizes, model)
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


def _most_probable(
    spine: "_Spine", ways: "_Ways", evidence: np.ndarray
) -> tuple[np.ndarray, float]:
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
    spine = _Spine(centres_mm, sizes, model)
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
    return _Spine(centres_mm, sizes, model).ways(evidence).total


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


@dataclass(frozen=True)
class _Candidate:
    """Pieces `start` to `stop` (not included), one or two, as one vertebra.

    Attributes:
        start: number of the first piece.
        stop: number of the first piece below.
        share: (stop - start,) weight of each piece.
        centre_mm: (3,) centre.
        above: (a,) numbers of the candidates above.
        hops: (a, statures, e) probability of all hops from them.
    """

    start: int
    stop: int
    share: np.ndarray
    centre_mm: np.ndarray
    above: np.ndarray
    hops: np.ndarray


class _Spine:
    """Candidates for vertebrae, and the probabilities of hops between them.

    Args:
        centres_mm: (n, 3) centres of the pieces, cranial to caudal.
        sizes: (n,) sizes of the pieces.
        model: model of spines.
    """

    def __init__(self, centres_mm: np.ndarray, sizes: np.ndarray, model: SpineModel) -> None:
        self.model = model
        is_small = sizes < SMALL_SHARE * np.median(sizes) if len(sizes) else np.zeros(0, bool)
        # The scan's border may cut the outer ones.
        is_small[:1] = is_small[-1:] = False
        self.extra = np.where(is_small, model.extra_small, model.extra)
        self.candidates: list[_Candidate] = []
        for stop in range(1, len(centres_mm) + 1):
            self._add(stop - 1, stop, np.ones(1), centres_mm[stop - 1])
            two = slice(stop - 2, stop)
            if stop >= 2 and np.linalg.norm(np.diff(centres_mm[two], axis=0)) < HALVES_MM:
                share = sizes[two] / sizes[two].sum()
                self._add(stop - 2, stop, share, share @ centres_mm[two])

    def _add(self, start: int, stop: int, share: np.ndarray, centre_mm: np.ndarray) -> None:
        above = [n for n, upper in enumerate(self.candidates) if upper.stop <= start]
        centres = np.array([self.candidates[n].centre_mm for n in above]).reshape(-1, 3)
        hops = self.model.graph.hops(np.linalg.norm(centre_mm - centres, axis=1))
        self.candidates.append(
            _Candidate(start, stop, share, centre_mm, np.array(above, int), hops)
        )

    def ways(self, evidence: np.ndarray) -> "_Ways":
        """All ways down the spine, given the evidence (n, C); -inf rules a label out."""
        return _Ways(self, evidence)


class _Ways:
    """All ways down a spine: which candidates are vertebrae, and of which levels.

    Attributes:
        total: logarithm of the sum of all ways' probabilities.
    """

    def __init__(self, spine: _Spine, evidence: np.ndarray) -> None:
        self.graph = spine.model.graph
        self.candidates = spine.candidates
        weighted = spine.model.evidence_weight * evidence
        left_out = weighted[:, BACKGROUND] + spine.extra
        is_possible = np.isfinite(left_out)
        self._left_out = np.concatenate([[0], np.cumsum(np.where(is_possible, left_out, 0))])
        self._barred = np.concatenate([[0], np.cumsum(~is_possible)])
        self._own = [
            (one.share @ weighted[one.start : one.stop])[self.graph.labels]
            + (spine.model.halved if one.stop - one.start > 1 else 0)
            for one in spine.candidates
        ]
        self._pieces = len(evidence)
        self._stops = np.array([one.stop for one in spine.candidates], int)
        self._none = float(self._without(0, self._pieces))
        self._sums = self._down_to_each(np.add)
        self.total = float(np.logaddexp.reduce([self._none, *self._complete(self._sums).ravel()]))

    def levels(self) -> np.ndarray:
        """Probability (n, C) of each label for each piece."""
        probability = np.zeros((self._pieces, NUM_CLASSES))
        for one, above, below in zip(
            self.candidates, self._sums, self._down_from_each(), strict=True
        ):
            share = np.exp(above + below - self.total).sum(axis=0)
            of_label = np.bincount(self.graph.labels, share, NUM_CLASSES)
            probability[one.start : one.stop] += of_label
        probability[:, BACKGROUND] = np.maximum(1 - probability.sum(axis=1), 0)
        return probability

    def variants(self) -> dict[str, float]:
        """Probability of each variant."""
        share = np.exp(self._none - self.total + self.graph.prior)
        for one, way in zip(self.candidates, self._sums, strict=True):
            last = np.logaddexp.reduce(way, axis=0)[:, None] + self.graph.end
            share += np.exp(last + self._without(one.stop, self._pieces) - self.total).sum(axis=0)
        return {
            name: float(share[[name in names for names in self.graph.variants]].sum())
            for name in VARIANTS
        }

    def best_labels(self) -> np.ndarray:
        """Labels (statures, n) of the most probable way for each size of a person."""
        best = self._down_to_each(np.maximum)
        complete = self._complete(best)
        ends = complete.max(axis=(0, 2), initial=-math.inf)
        # No answer is more probable than all statures of another whose best one is more so by this.
        near = ends > ends.max() - math.log(len(ends))
        none = ends <= self._none + self.graph.stature
        labels = np.full((len(ends), self._pieces), BACKGROUND)
        for stature in np.flatnonzero(near & ~none).tolist():
            row, own = labels[stature], complete[:, stature]
            number, level = map(int, np.unravel_index(own.argmax(), own.shape))
            while number >= 0:
                one = self.candidates[number]
                row[one.start : one.stop] = self.graph.labels[level]
                number, level = self._above(best, number, int(stature), level)
        return labels[near | none]

    def _without(self, start: np.ndarray | int, stop: np.ndarray | int) -> np.ndarray:
        """Log-probability that no piece from `start` to `stop` is a vertebra."""
        left_out = self._left_out[stop] - self._left_out[start]
        return np.where(self._barred[stop] > self._barred[start], -math.inf, left_out)

    def _first(self, candidate: _Candidate) -> np.ndarray:
        """Log-probability (statures, k) of a candidate as the first one, but for its evidence."""
        return self.graph.stature[:, None] + self.graph.start + self._without(0, candidate.start)

    def _between(self, candidate: _Candidate) -> np.ndarray:
        """Log-probability (a,) of no vertebra between a candidate and those above it."""
        return self._without(self._stops[candidate.above], candidate.start)

    def _down_to_each(self, combine: np.ufunc) -> np.ndarray:
        """Log-probability (candidates, statures, k) of the ways down to each candidate and level.

        Args:
            combine: `np.add` for the sum of the ways' probabilities, `np.maximum` for the largest.
        """
        graph = self.graph
        ways = np.empty((len(self.candidates), len(graph.stature), len(graph.labels)))
        for number, (candidate, own) in enumerate(zip(self.candidates, self._own, strict=True)):
            way = self._first(candidate)
            possible = np.isfinite(own)[graph.lower]
            used = slice(None) if possible.all() else np.flatnonzero(possible)
            lower = graph.lower[used]
            if len(candidate.above) and len(lower):
                above = ways[candidate.above] + self._between(candidate)[:, None, None]
                peak = above.max()
                if math.isfinite(peak):
                    parts = np.exp(above - peak)[:, :, graph.upper[used]]
                    parts *= candidate.hops[:, :, used]
                    levels, starts = np.unique(lower, return_index=True)
                    hopped = combine.reduceat(combine.reduce(parts, axis=0), starts, axis=1)
                    with np.errstate(divide="ignore"):
                        hopped = np.log(hopped) + peak
                    join = np.logaddexp if combine is np.add else np.maximum
                    way[:, levels] = join(way[:, levels], hopped)
            ways[number] = way + own
        return ways

    def _down_from_each(self) -> np.ndarray:
        """Log-probability (candidates, statures, k) of what lies below each candidate and level."""
        graph = self.graph
        by_upper = np.argsort(graph.upper, kind="stable")
        levels, starts = np.unique(graph.upper[by_upper], return_index=True)
        below = self._complete(np.zeros_like(self._sums))
        for number in reversed(range(len(self.candidates))):
            candidate = self.candidates[number]
            onwards = below[number] + self._own[number]
            peak = onwards.max()
            if not len(candidate.above) or not math.isfinite(peak):
                continue
            parts = candidate.hops * np.exp(onwards - peak)[:, graph.lower]
            hopped = np.add.reduceat(parts[:, :, by_upper], starts, axis=2)
            with np.errstate(divide="ignore"):
                hopped = np.log(hopped) + peak
            hopped += self._between(candidate)[:, None, None]
            onto = np.ix_(candidate.above, np.arange(len(graph.stature)), levels)
            below[onto] = np.logaddexp(below[onto], hopped)
        return below

    def _complete(self, ways: np.ndarray) -> np.ndarray:
        """Log-probability of ways (candidates, statures, k) that end with a candidate and level."""
        end = np.logaddexp.reduce(self.graph.end, axis=1)
        return ways + end + self._without(self._stops, self._pieces)[:, None, None]

    def _above(self, best: np.ndarray, number: int, stature: int, level: int) -> tuple[int, int]:
        """Candidate and level from which the best way to another comes; -1 for none."""
        candidate = self.candidates[number]
        hops = np.flatnonzero(self.graph.lower == level)
        if not len(candidate.above) or not len(hops):
            return -1, -1
        with np.errstate(divide="ignore"):
            ways = np.log(candidate.hops[:, stature, hops])
        ways += best[candidate.above[:, None], stature, self.graph.upper[hops]]
        ways += self._between(candidate)[:, None]
        if ways.max() <= self._first(candidate)[stature, level]:
            return -1, -1
        upper, hop = np.unravel_index(ways.argmax(), ways.shape)
        return int(candidate.above[upper]), int(self.graph.upper[hops[hop]])


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
