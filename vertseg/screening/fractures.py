"""Genant's grades of height loss."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from vertseg.screening.frames import NEIGHBOUR_MM, Floats
from vertseg.screening.heights import Heights

Deformity = Literal["wedge", "biconcave", "crush"]
Reference = Literal["neighbours", "own posterior height"]

GRADE_FROM = (0.20, 0.25, 0.40)
"""Smallest loss of height of grades 1, 2 and 3 (Genant et al., J Bone Miner Res 1993;8:1137)."""

_NEIGHBOURS = 2
_PLACES = ("anterior", "middle", "posterior")


@dataclass(frozen=True)
class HeightGrade:
    """Grade of one vertebra.

    Attributes:
        loss: largest loss of the three heights, 0 to 1.
        reference: source of the expected heights.
        grade: Genant's grade, 0 to 3.
        shape: Genant's shape, None for grade 0.
    """

    loss: float
    reference: Reference
    grade: int
    shape: Deformity | None


def genant_grade(loss: float) -> int:
    """Grade of a loss of height, 0 to 1: 0 below 20 %, 1 below 25 %, 2 below 40 %, else 3."""
    return int(np.searchsorted(GRADE_FROM, loss, side="right"))


def grade_heights(column: Sequence[tuple[Floats, Heights | None]]) -> list[HeightGrade | None]:
    """Grade a spine's vertebrae.

    Each height is compared with the one expected from the two nearest undeformed vertebrae on
    either side; see docs/screening.md.

    Args:
        column: body centre (3,) in mm and heights or None of each vertebra, cranial to caudal.

    Returns:
        A grade for each vertebra; None for those without heights.
    """
    first = [_grade(column, index, deformed=frozenset()) for index in range(len(column))]
    deformed = frozenset(i for i, grade in enumerate(first) if grade is not None and grade.grade)
    return [_grade(column, index, deformed) for index in range(len(column))]


def _grade(
    column: Sequence[tuple[Floats, Heights | None]], index: int, deformed: frozenset[int]
) -> HeightGrade | None:
    own = column[index][1]
    if own is None:
        return None
    expected = _expected(column, index, deformed)
    heights = np.array(list(asdict(own).values()))
    reference: Reference = "neighbours"
    if expected is None:
        expected, reference = np.full(3, own.posterior), "own posterior height"
    losses = dict(zip(_PLACES, 1 - heights / expected, strict=True))
    loss = float(max(*losses.values(), 0.0))
    grade = genant_grade(loss)
    return HeightGrade(loss, reference, grade, _shape(losses) if grade else None)


def _shape(losses: dict[str, float]) -> Deformity:
    if min(losses.values()) >= 0.8 * GRADE_FROM[0]:
        return "crush"
    return "wedge" if losses["anterior"] >= losses["middle"] else "biconcave"


def _expected(
    column: Sequence[tuple[Floats, Heights | None]], index: int, deformed: frozenset[int]
) -> Floats | None:
    """Heights (3,) expected at a vertebra by a line through its neighbours; None without any."""
    above = _neighbours(column, range(index - 1, -1, -1), index, deformed)
    below = _neighbours(column, range(index + 1, len(column)), index, deformed)
    if above and below:
        places = np.array([place - index for place in (*above, *below)], dtype=float)
        values = np.array([_values(column, place) for place in (*above, *below)])
        return np.asarray(np.polynomial.polynomial.polyfit(places, values, 1)[0])
    nearest = (above or below)[:1]
    return _values(column, nearest[0]) if nearest else None


def _neighbours(
    column: Sequence[tuple[Floats, Heights | None]],
    candidates: range,
    index: int,
    deformed: frozenset[int],
) -> list[int]:
    centre = column[index][0]
    return [
        place
        for place in candidates
        if column[place][1] is not None
        and place not in deformed
        and np.linalg.norm(column[place][0] - centre) < _NEIGHBOURS * NEIGHBOUR_MM / 2 + 20
    ][:_NEIGHBOURS]


def _values(column: Sequence[tuple[Floats, Heights | None]], place: int) -> Floats:
    heights = column[place][1]
    assert heights is not None
    return np.array(list(asdict(heights).values()))
