"""All ways down a spine: which pieces are vertebrae, and of which levels (docs/decoding.md).

Dynamic programming finds the most probable way, and the sum of the probabilities of all.
"""

import math
from dataclasses import dataclass

import numpy as np

from vertseg.anatomy.labels import BACKGROUND, NUM_CLASSES, SACRUM
from vertseg.segmentation.spine_model import SMALL_SHARE, VARIANTS, SpineModel

HALVES_MM = 12.0
"""Distance between two pieces' centres from which they cannot be halves of one vertebra.

Nearer than any two vertebrae of `STEP_MM` in a small person.
"""


@dataclass(frozen=True)
class Candidate:
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


class Candidates:
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
        self.candidates: list[Candidate] = []
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
        self.candidates.append(Candidate(start, stop, share, centre_mm, np.array(above, int), hops))

    def ways(self, evidence: np.ndarray) -> "Ways":
        """All ways down the spine, given the evidence (n, C); -inf rules a label out."""
        return Ways(self, evidence)


class Ways:
    """All ways down a spine: which candidates are vertebrae, and of which levels.

    Attributes:
        total: logarithm of the sum of all ways' probabilities.
    """

    def __init__(self, spine: Candidates, evidence: np.ndarray) -> None:
        self.graph = spine.model.graph
        self.candidates = spine.candidates
        weighted = spine.model.evidence_weight * evidence
        left_out = weighted[:, BACKGROUND] + spine.extra
        is_possible = np.isfinite(left_out)
        self._left_out = np.concatenate([[0], np.cumsum(np.where(is_possible, left_out, 0))])
        sacral = weighted[:, BACKGROUND] + spine.model.below_sacrum
        self._sacral = np.concatenate([[0], np.cumsum(np.where(is_possible, sacral, 0))])
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
            last = np.logaddexp.reduce(way, axis=0) + self._below(one.stop)
            share += np.exp(last[:, None] + self.graph.end - self.total).sum(axis=0)
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

    def _below(self, stop: np.ndarray | int) -> np.ndarray:
        """Log-probability (..., k) of no vertebra from `stop` on, by the last level."""
        left_out = self._without(stop, self._pieces)
        sacral = self._sacral[self._pieces] - self._sacral[stop]
        sacral = np.where(np.isfinite(left_out), sacral, -math.inf)
        return np.where(self.graph.labels == SACRUM, sacral[..., None], left_out[..., None])

    def _first(self, candidate: Candidate) -> np.ndarray:
        """Log-probability (statures, k) of a candidate as the first one, but for its evidence."""
        return self.graph.stature[:, None] + self.graph.start + self._without(0, candidate.start)

    def _between(self, candidate: Candidate) -> np.ndarray:
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
        return ways + end + self._below(self._stops)[:, None]

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
