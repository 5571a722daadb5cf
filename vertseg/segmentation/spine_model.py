"""Model of spines: levels, variants, distances between neighbours, errors of a detector."""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, NUM_CLASSES, SACRUM

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

TAILS = 4.0
"""Degrees of freedom of Student's t, whose tails allow for fractures and misplaced centres."""

SMALL_SHARE = 0.2
"""Share of the pieces' median size below which a piece often is a crumb and not a vertebra."""

STATURES = np.linspace(-2, 2, 9)
"""Sizes of a person that are tried, in SDs of the logarithm of people's size."""

FIRST_VARIABLE, FIRST_LOWEST = "T12", "L5"
"""Levels above the first are the same in all variants; above the second, in those of the loin."""

THORACIC = (None, "T13", "no T12")
LUMBAR = (None, "L6", "no L5")

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
        extra_small: the same of a piece between others, smaller than `SMALL_SHARE` of the median.
        below_sacrum: log-probability of a piece below S1, where no vertebra is.
        halved: log-probability of a vertebra in two pieces.
        variants: probabilities of the variants in `VARIANTS`.
        first: (C,) log-probability of each label as the uppermost one found.
        last: (27,) log-probability of the lowest level found, by its number of levels above S1.
        evidence_weight: factor of the evidence, whose pieces err together.
    """

    step_mm: Mapping[tuple[str, str], float]
    step_sd: float
    size_sd: float
    missed: float
    extra: float
    extra_small: float
    below_sacrum: float
    halved: float
    variants: Mapping[str, float]
    first: np.ndarray
    last: np.ndarray
    evidence_weight: float = 1.0

    @cached_property
    def graph(self) -> "LevelGraph":
        """Levels and hops of all enumeration variants."""
        return LevelGraph.of(self)


NETWORK = SpineModel(
    STEP_MM,
    step_sd=0.1,
    size_sd=0.062,
    missed=math.log(0.01),
    extra=math.log(0.01),
    extra_small=math.log(0.3),
    below_sacrum=math.log(0.01),
    halved=math.log(0.01),
    variants=VARIANTS,
    first=np.zeros(NUM_CLASSES),
    last=np.zeros(len(CRANIOCAUDAL) + 1),
)


CAUTIOUS = replace(NETWORK, evidence_weight=0.2)
"""Model for the probabilities of a network's labels.

What misleads a network about one vertebra misleads it about the next: five that agree count as much
as one alone would.
"""


@dataclass(frozen=True)
class LevelGraph:
    """The k levels of all enumeration variants down to S1, and the e hops from one to a lower one.

    Variants share their levels down to the place where they part: T11 is one node, T12 one for each
    number of thoracic vertebrae, L5 one for each variant. A way down the spine thus belongs to the
    variants that it tells apart.

    Attributes:
        labels: (k,) label of each level, `SACRUM` for S1.
        stature: (statures,) log-probability of each of `STATURES`.
        variants: names of the deviations in each combination; none in the usual spine.
        prior: (variants,) log-probability of each combination.
        start: (k,) log-probability of a level as the first one found.
        end: (k, variants) log-probability of each combination and of the level as the last one.
        upper: (e,) level from which a hop starts.
        lower: (e,) level in which it ends, in rising order.
        log_mm: (statures, e) logarithm of its expected length.
        spread: (e,) scale of that logarithm.
        score: (e,) log-probability of the levels missed, of the variants entered, and of the
            t-distribution's peak.
    """

    labels: np.ndarray
    stature: np.ndarray
    variants: tuple[frozenset[str], ...]
    prior: np.ndarray
    start: np.ndarray
    end: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    log_mm: np.ndarray
    spread: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, model: SpineModel) -> "LevelGraph":
        """All levels and hops of a model."""
        combinations = [
            (thoracic, lumbar, _prior(thoracic, THORACIC, model), _prior(lumbar, LUMBAR, model))
            for thoracic, lumbar in itertools.product(THORACIC, LUMBAR)
        ]
        prior_of: dict[tuple[str | None, ...], float] = {}
        end_of: dict[tuple[str | None, ...], np.ndarray] = {}
        hops: dict[tuple[tuple[str | None, ...], ...], tuple[float, int]] = {}
        for number, (thoracic, lumbar, thoracic_prior, lumbar_prior) in enumerate(combinations):
            names = [*levels_of_spine({thoracic, lumbar}), "S1"]
            place_mm = np.cumsum(
                [0.0, *(model.step_mm[pair] for pair in itertools.pairwise(names))]
            )
            keys = [_node(name, thoracic, lumbar) for name in names]
            for at, key in enumerate(keys):
                # The variants that a node tells, by the length of its key.
                told = sum((thoracic_prior, lumbar_prior)[: len(key) - 1])
                prior_of[key] = told
                end = end_of.setdefault(key, np.full(len(combinations), -np.inf))
                untold = thoracic_prior + lumbar_prior - told
                end[number] = untold + model.last[len(names) - 1 - at]
                for above in range(at):
                    hops[keys[above], key] = (place_mm[at] - place_mm[above], at - above)
        nodes = {key: number for number, key in enumerate(prior_of)}
        prior = np.array(list(prior_of.values()))
        ordered = sorted((nodes[b], nodes[a], mm, levels) for (a, b), (mm, levels) in hops.items())
        lower, upper, mm, levels = (np.array(column) for column in zip(*ordered, strict=True))
        labels = np.array([IDS.get(str(name), SACRUM) for name, *_ in nodes])
        spread = model.step_sd / np.sqrt(levels)
        stature = -(STATURES**2) / 2
        return cls(
            labels=labels,
            stature=stature - np.logaddexp.reduce(stature),
            variants=tuple(
                frozenset(name for name in (thoracic, lumbar) if name)
                for thoracic, lumbar, *_ in combinations
            ),
            prior=np.array([priors[0] + priors[1] for _, _, *priors in combinations]),
            start=model.first[labels] + prior,
            end=np.stack(list(end_of.values())),
            upper=upper,
            lower=lower,
            log_mm=np.log(mm) + (model.size_sd * STATURES)[:, None],
            spread=spread,
            score=(levels - 1) * model.missed
            - np.log(spread)
            + _T_PEAK
            + prior[lower]
            - prior[upper],
        )

    def hops(self, lengths_mm: np.ndarray) -> np.ndarray:
        """Probability (n, statures, e) of all hops, given their lengths (n,)."""
        log_mm = np.log(np.maximum(lengths_mm, 1e-3))[:, None, None]
        deviation = (log_mm - self.log_mm) / (self.spread * math.sqrt(TAILS))
        deviation *= deviation
        deviation += 1
        # Much faster than the power of (TAILS + 1) / 2.
        return np.exp(self.score) / (deviation**2 * np.sqrt(deviation))

    @cached_property
    def below(self) -> Mapping[int, frozenset[int]]:
        """Labels that follow next below each label, in any variant."""
        chains = [
            [*(IDS[name] for name in levels_of_spine(variants)), SACRUM]
            for variants in self.variants
        ]
        pairs = {pair for chain in chains for pair in itertools.pairwise(chain)}
        return {a: frozenset(b for one, b in pairs if one == a) for a, _ in pairs}


def usual_mm(upper: int, lower: int) -> float:
    """Usual distance in mm between two levels' centres, by their labels.

    T13 and L6 count only if they are one of the two.
    """
    names = levels_of_spine({NAMES[upper], NAMES[lower]} & {"T13", "L6"})
    way = names[names.index(NAMES[upper]) : names.index(NAMES[lower]) + 1]
    return sum(STEP_MM[pair] for pair in itertools.pairwise(way))


def levels_of_spine(variants: Collection[str | None]) -> list[str]:
    """Names of the levels of a spine with some variants, from C1 downwards."""
    return [
        name
        for name in (NAMES[label] for label in CRANIOCAUDAL)
        if (name not in ("T13", "L6") or name in variants) and f"no {name}" not in variants
    ]


def _prior(variant: str | None, among: tuple[str | None, ...], model: SpineModel) -> float:
    """Log-probability of a variant, or of none of those in `among`."""
    if variant:
        return math.log(model.variants[variant])
    return math.log1p(-sum(model.variants[other] for other in among if other))


def _node(name: str, thoracic: str | None, lumbar: str | None) -> tuple[str | None, ...]:
    """A level, with the variants that show at it or above."""
    order = [*(NAMES[label] for label in CRANIOCAUDAL), "S1"]
    if order.index(name) < order.index(FIRST_VARIABLE):
        return (name,)
    if order.index(name) < order.index(FIRST_LOWEST):
        return (name, thoracic)
    return (name, thoracic, lumbar)
