"""Two vertebrae in one instance, divided where distances and classes say that it is two."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vertseg.anatomy.labels import BACKGROUND, SACRUM
from vertseg.segmentation.bone import Bone, Seeds
from vertseg.segmentation.evidence import (
    CAUTIOUS_MODEL,
    MODEL,
    Evidence,
    evidence_of,
    of_spine,
)
from vertseg.segmentation.instances import MOST_INSTANCES, renumbered
from vertseg.segmentation.numbering import log_total, most_probable_levels

WIDE_STEPS = 1.1
"""Mean distance from its neighbours, in steps, from which an instance may be two vertebrae."""

TWO_ODDS = 3.0
"""Odds for two vertebrae in place of one, from which an instance is divided."""


def divided(
    bone: Bone,
    seeds: Seeds,
    owner: np.ndarray,
    groups: np.ndarray,
    scores: np.ndarray,
    logits: np.ndarray | None,
) -> tuple[Seeds, np.ndarray, list[int]]:
    """Seeds and instances, with those of two vertebrae divided, and the numbers of the spine's.

    An instance is divided if two vertebrae in its place are `TWO_ODDS` times as probable as one, by
    their distances from the neighbours and by the classes of their cells, and if both get a name.

    Args:
        bone: the cells.
        seeds: seeds of all instances.
        owner: instance of each cell.
        groups: numbers of the instances' groups, as `groups_of` gives them.
        scores: (C, cells) log-softmax.
        logits: (C, X, Y, Z) of the scan, if those of the sacrum mean anything.
    """
    kept = of_spine(bone, owner, groups)
    wide = list(_wide(seeds, kept))
    if not wide or len(seeds) >= MOST_INSTANCES:
        return seeds, owner, kept

    def evidence(seeds: Seeds, owner: np.ndarray) -> Evidence:
        return evidence_of(bone, seeds, owner, of_spine(bone, owner, groups), scores, logits)

    def vertebrae(evidence: Evidence) -> int:
        names = most_probable_levels(*evidence, MODEL)
        return int(np.count_nonzero(~np.isin(names, (BACKGROUND, SACRUM))))

    as_one = evidence(seeds, owner)
    possible = [_in_two(bone, seeds, owner, index, places) for index, places in wide]
    as_two = [evidence(*one) for one in possible]
    log_odds = np.array([log_total(*one, CAUTIOUS_MODEL) for one in as_two])
    log_odds -= log_total(*as_one, CAUTIOUS_MODEL)
    for best in map(int, np.argsort(-log_odds, kind="stable")):
        if log_odds[best] < math.log(TWO_ODDS):
            break
        if vertebrae(as_two[best]) > vertebrae(as_one):
            return divided(bone, *possible[best], groups, scores, logits)
    return seeds, owner, kept


def _wide(seeds: Seeds, kept: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Instances that are far from their neighbours, and places (2, 3) of two vertebrae there."""
    for above, index, below in zip([None, *kept[:-1]], kept, [*kept[1:], None], strict=True):
        own = seeds.places_mm[index]
        if above is None and below is None:
            return
        # The outermost instances reach as far to one side as to the other.
        upper = 2 * own - seeds.places_mm[below] if above is None else seeds.places_mm[above]
        lower = 2 * own - seeds.places_mm[above] if below is None else seeds.places_mm[below]
        if np.linalg.norm(upper - lower) >= 2 * WIDE_STEPS * seeds.steps_mm[index]:
            yield index, upper + (lower - upper) * np.array([[1], [2]]) / 3


def _in_two(
    bone: Bone, seeds: Seeds, owner: np.ndarray, index: int, places_mm: np.ndarray
) -> tuple[Seeds, np.ndarray]:
    """Seeds and instances with two in the place of one, at places (2, 3), cranial first."""
    own = np.flatnonzero(owner == index)
    axis = places_mm[0] - places_mm[1]
    lower = own[(bone.places_mm[own] - places_mm.mean(axis=0)) @ axis < 0]
    owner = owner.copy()
    owner[lower] = len(seeds)
    places = np.vstack([seeds.places_mm, places_mm[1]])
    places[index] = places_mm[0]
    steps = np.append(seeds.steps_mm, seeds.steps_mm[index])
    return renumbered(Seeds(places, steps), owner)
