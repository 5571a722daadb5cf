"""Summary of a spine's measures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vertseg.anatomy.labels import IDS, RANK, region
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.screening.measures import VertebraMeasures
from vertseg.screening.outliers import find_outliers

PICKHARDT_HU = (110, 135, 160)
"""Thresholds of L1 for osteoporosis by DXA.

At most 160 HU is 90 % sensitive and at most 110 HU more than 90 % specific (Pickhardt et al., Ann
Intern Med 2013;158:588-595); less than 135 HU indicates a risk (Anderson et al., J Bone Joint Surg
Am 2018;100:2073-2081).
"""

_CATEGORIES = ("at most 110 HU", "above 110 to 135 HU", "above 135 to 160 HU", "above 160 HU")
_THORACOLUMBAR = ("T12", "L1", "L2", "L3")


@dataclass(frozen=True)
class SpineSummary:
    """Summary of a spine's measures; None for values without a measured vertebra.

    Attributes:
        t12_l3_hu: median trabecular HU of the measured ones of T12, L1, L2 and L3, deformed ones
            and outliers left out.
        t12_l3_levels: levels in that median.
        t12_l3_bmd_mg_cc: median bone density of these levels.
        hu_category: range of `t12_l3_hu` between the thresholds.
        l1_hu: trabecular HU of L1; None if it is deformed, since compressed bone is denser, or
            an outlier.
        outlier_levels: levels whose HU disagree with their neighbours'.
        outliers: for each of them, the disagreement and its usual causes.
        highest_genant_grade: highest grade of all vertebrae.
        highest_genant_levels: vertebrae of that grade, empty for grade 0.
        suppressed: for each vertebra with values left out, the values and the reasons.
        notice: restriction to research.
    """

    t12_l3_hu: float | None
    t12_l3_levels: tuple[str, ...]
    t12_l3_bmd_mg_cc: float | None
    hu_category: str | None
    l1_hu: float | None
    outlier_levels: tuple[str, ...]
    outliers: tuple[str, ...]
    highest_genant_grade: int | None
    highest_genant_levels: tuple[str, ...]
    suppressed: tuple[str, ...]
    notice: str = RESEARCH_USE_ONLY


def pickhardt_category(hu: float) -> str:
    """Range between the thresholds that holds a trabecular HU of L1, or of T12 to L3."""
    return _CATEGORIES[int(np.searchsorted(PICKHARDT_HU, hu, side="left"))]


def summarise(measures: Sequence[VertebraMeasures]) -> SpineSummary:
    """Summarise the measures of one scan; if a name occurs twice, its first counts."""
    hu = {
        one.name: one.trabecular_hu
        for one in reversed(measures)
        if one.trabecular_hu is not None and not one.genant_grade
    }
    places = {name: _place(name, measures) for name in hu if region(IDS[name]) != "cervical"}
    outliers = find_outliers({name: hu[name] for name in places}, places)
    outlying = tuple(one.level for one in outliers)
    levels = tuple(name for name in _THORACOLUMBAR if name in hu and name not in outlying)
    median = _median([hu[name] for name in levels])
    densities = {one.name: one.bmd_mg_cc for one in reversed(measures)}
    grades = [one.genant_grade for one in measures if one.genant_grade is not None]
    highest = max(grades, default=None)
    return SpineSummary(
        t12_l3_hu=median,
        t12_l3_levels=levels,
        t12_l3_bmd_mg_cc=_median([densities[name] for name in levels]),
        hu_category=None if median is None else pickhardt_category(median),
        l1_hu=hu["L1"] if "L1" in levels else None,
        outlier_levels=outlying,
        outliers=tuple(one.reason for one in outliers),
        highest_genant_grade=highest,
        highest_genant_levels=tuple(
            one.name for one in measures if highest and one.genant_grade == highest
        ),
        suppressed=tuple(
            f"{one.name}: {', '.join(reasons)}"
            for one in measures
            if (reasons := _left_out(one, outlying))
        ),
    )


def _place(name: str, measures: Sequence[VertebraMeasures]) -> int:
    """Place along the spine, in which T13 counts where the scan has one alone."""
    rank = RANK[IDS[name]]
    has_t13 = any(one.name == "T13" for one in measures)
    return rank - (rank > RANK[IDS["T13"]] and not has_t13)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 1) if known else None


def _left_out(one: VertebraMeasures, outlying: tuple[str, ...]) -> list[str]:
    reasons = list(one.suppressed)
    if one.name in _THORACOLUMBAR and one.trabecular_hu is not None:
        if one.genant_grade:
            reasons.append(f"summaries of HU (grade {one.genant_grade} loss of height)")
        elif one.name in outlying:
            reasons.append("summaries of HU (disagrees with its neighbours)")
    return reasons
