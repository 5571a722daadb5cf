"""Summary of a spine's measures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.screening.measures import VertebraMeasures

PICKHARDT_HU = (110, 135, 160)
"""Thresholds of L1 for osteoporosis by DXA.

At most 160 HU is 90 % sensitive and at most 110 HU more than 90 % specific (Pickhardt et al., Ann
Intern Med 2013;158:588-595); less than 135 HU indicates a risk (Anderson et al., J Bone Joint Surg
Am 2018;100:2073-2081).
"""

_CATEGORIES = ("at most 110 HU", "above 110 to 135 HU", "above 135 to 160 HU", "above 160 HU")
_THORACOLUMBAR = ("T12", "L1", "L2")


@dataclass(frozen=True)
class SpineSummary:
    """Summary of a spine's measures; None for values without a measured vertebra.

    Attributes:
        l1_hu: trabecular HU of L1; None if it is deformed, since compressed bone is denser.
        l1_category: range of `l1_hu` between the thresholds.
        t12_l2_hu: mean of the measured, undeformed ones of T12, L1 and L2.
        t12_l2_levels: levels in that mean.
        highest_genant_grade: highest grade of all vertebrae.
        highest_genant_levels: vertebrae of that grade, empty for grade 0.
        suppressed: for each vertebra with values left out, the values and the reasons.
        notice: restriction to research.
    """

    l1_hu: float | None
    l1_category: str | None
    t12_l2_hu: float | None
    t12_l2_levels: tuple[str, ...]
    highest_genant_grade: int | None
    highest_genant_levels: tuple[str, ...]
    suppressed: tuple[str, ...]
    notice: str = RESEARCH_USE_ONLY


def pickhardt_category(hu: float) -> str:
    """Range between the thresholds that holds a trabecular HU of L1."""
    return _CATEGORIES[int(np.searchsorted(PICKHARDT_HU, hu, side="left"))]


def summarise(measures: Sequence[VertebraMeasures]) -> SpineSummary:
    """Summarise the measures of one scan; if a name occurs twice, its first counts."""
    hu = {
        one.name: one.trabecular_hu
        for one in reversed(measures)
        if one.trabecular_hu is not None and not one.genant_grade
    }
    levels = tuple(name for name in _THORACOLUMBAR if name in hu)
    grades = [one.genant_grade for one in measures if one.genant_grade is not None]
    highest = max(grades, default=None)
    return SpineSummary(
        l1_hu=hu.get("L1"),
        l1_category=pickhardt_category(hu["L1"]) if "L1" in hu else None,
        t12_l2_hu=round(float(np.mean([hu[name] for name in levels])), 1) if levels else None,
        t12_l2_levels=levels,
        highest_genant_grade=highest,
        highest_genant_levels=tuple(
            one.name for one in measures if highest and one.genant_grade == highest
        ),
        suppressed=tuple(
            f"{one.name}: {', '.join(reasons)}" for one in measures if (reasons := _left_out(one))
        ),
    )


def _left_out(one: VertebraMeasures) -> list[str]:
    deformed = one.name in _THORACOLUMBAR and one.trabecular_hu is not None and one.genant_grade
    summary = [f"summaries of HU (grade {one.genant_grade} loss of height)"] if deformed else []
    return [*one.suppressed, *summary]
