"""Levels whose bone disagrees with that of their neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEAST_HU = 40.0
"""Smallest difference from the neighbours' median of a level that counts as an outlier."""
LEAST_SHARE = 0.35
"""The same in shares of that median, which is larger in dense bone."""

_REACH = 2
"""Largest distance in levels of the neighbours that a level is compared with."""
_LEAST_NEIGHBOURS = 2


@dataclass(frozen=True)
class Outlier:
    """A level that disagrees with its neighbours.

    Attributes:
        level: name.
        hu: its trabecular HU.
        neighbours: names of the levels that it is compared with.
        neighbours_hu: their median.
    """

    level: str
    hu: float
    neighbours: tuple[str, ...]
    neighbours_hu: float

    @property
    def reason(self) -> str:
        """The disagreement and its usual causes in words."""
        others = f"{', '.join(self.neighbours[:-1])} and {self.neighbours[-1]}"
        denser = self.hu > self.neighbours_hu
        causes = (
            "compressed or sclerotic bone, cement or contrast agent"
            if denser
            else "a lesion or haemangioma, or an outline beside the bone"
        )
        return (
            f"{self.level}: {self.hu:.0f} HU, {abs(self.hu - self.neighbours_hu):.0f} HU "
            f"{'above' if denser else 'below'} the median of {others} "
            f"({self.neighbours_hu:.0f} HU); causes are {causes}"
        )


def find_outliers(hu: Mapping[str, float], order: Mapping[str, int]) -> list[Outlier]:
    """Levels that differ from the median of their neighbours by 40 HU and 35 % at least.

    The largest disagreement is taken out first, so that an outlier does not make its neighbours
    look like some.

    Args:
        hu: trabecular HU by level.
        order: place along the spine of each level.

    Returns:
        Outliers, cranial to caudal.
    """
    left = dict(hu)
    found: list[Outlier] = []
    while True:
        compared = [one for level in left if (one := _compare(level, left, order)) is not None]
        worst = max(compared, key=_excess, default=None)
        if worst is None or _excess(worst) < 1:
            return sorted(found, key=lambda one: order[one.level])
        found.append(worst)
        del left[worst.level]


def _compare(level: str, hu: Mapping[str, float], order: Mapping[str, int]) -> Outlier | None:
    near = [other for other in hu if 0 < abs(order[other] - order[level]) <= _REACH]
    if len(near) < _LEAST_NEIGHBOURS:
        return None
    near.sort(key=order.__getitem__)
    return Outlier(level, hu[level], tuple(near), float(np.median([hu[name] for name in near])))


def _excess(one: Outlier) -> float:
    """Difference in smallest differences of an outlier."""
    return abs(one.hu - one.neighbours_hu) / max(LEAST_HU, LEAST_SHARE * one.neighbours_hu)
