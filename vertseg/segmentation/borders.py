"""Borders between named instances, drawn from their cells' votes and classes."""

import numpy as np

from vertseg.anatomy.labels import BACKGROUND
from vertseg.segmentation.bone import Bone, Seeds
from vertseg.segmentation.instances import ASIDE, VOTE_STEPS, distance_along, in_one_piece
from vertseg.segmentation.pieces import SMALLEST_ML

TRUSTED_AGREEMENT = 0.85
"""Share of bone whose class is its instance's name, from which on classes are trusted at borders.

That of the least of 14 held-out phantoms; real scans have 0.3 to 0.9.
"""

VOTE_SD = (0.3, 0.4)
"""SD of votes around the seed of their instance, in steps; where classes are trusted, the second.
"""

LEAST_CLASS = (0.135, 0.018)
"""Lower limit of a class's probability at the borders between instances; where classes are trusted,
the second."""


def by_votes_and_names(
    bone: Bone,
    seeds: Seeds,
    owner: np.ndarray,
    votes: np.ndarray,
    names: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    """Instances (n,) of the cells of named instances, the borders between them drawn anew.

    Where votes lie between two seeds, classes decide, the more so if most are those of the names.
    All borders stay where they are if a vertebra would lose its cells to its neighbours.

    Args:
        bone: n cells.
        seeds: seeds of all instances.
        owner: (n,) instance of each cell.
        votes: (n, 3) places in mm.
        names: label of each instance.
        scores: (C, n) log-softmax.
    """
    named = np.flatnonzero(names != BACKGROUND)
    cells = np.flatnonzero(np.isin(owner, named))
    if not len(cells):
        return owner
    agreement = float(np.mean(bone.labels[cells] == names[owner[cells]]))
    trusted = int(agreement >= TRUSTED_AGREEMENT)
    softmax = np.exp(scores[:, cells])
    gain = np.full((len(cells), len(named)), -np.inf)
    for column, index in enumerate(named.tolist()):
        ways = votes[cells] - seeds.places_mm[index]
        distance = distance_along(ways, seeds.axis(index), ASIDE) / seeds.steps_mm[index]
        own = owner[cells] == index
        probability = _probability_of(names[index], softmax, own)
        classes = np.log(np.maximum(probability, LEAST_CLASS[trusted]))
        # Growth through bone brought the other cells, whose votes lie far from all seeds.
        near = (distance <= 2 * VOTE_STEPS) | own
        gain[:, column] = np.where(near, classes - (distance / VOTE_SD[trusted]) ** 2 / 2, -np.inf)
    refined = owner.copy()
    refined[cells] = named[gain.argmax(axis=1)]
    refined = in_one_piece(bone, seeds, refined)
    left_ml = np.bincount(refined[refined >= 0], minlength=len(seeds))[named] * bone.cell_ml
    return refined if (left_ml >= SMALLEST_ML).all() else owner


def _probability_of(name: int, softmax: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Probability (n,) of an instance's classes in cells with this softmax (C, n).

    The class is its name, or where most of its own cells, as `own` (n,) says, are called otherwise,
    as those of a T13 may be, what they are called.
    """
    called = softmax[:, own].mean(axis=1)
    return softmax[name] if called[name] >= called.max() / 2 else called @ softmax
