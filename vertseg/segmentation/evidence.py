"""What speaks for the levels of a spine's instances: their cells' classes, and a sacrum."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cc3d
import numpy as np
from scipy.special import log_softmax

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, NUM_CLASSES, SACRUM
from vertseg.segmentation.bone import Bone, Seeds
from vertseg.segmentation.numbering import LEAST_PROBABILITY
from vertseg.segmentation.pieces import IMPOSSIBLE, labels_of_spine
from vertseg.segmentation.spine_model import CAUTIOUS, NETWORK, STEP_MM, SpineModel

BODY_STEPS = 0.5
"""SD of a cell's weight in an instance's evidence by its distance from the seed, in steps."""

SACRUM_ML = 3.0
"""Smallest volume of a sacrum in view."""

SACRUM_REACH_MM = 60.0
"""Distance from the vertebrae's cells within which a sacrum is looked for."""

SACRAL_BACKGROUND = 0.07
"""Smallest probability of background, as the geometric mean of an instance's cells, at which it may
be of a sacrum. In phantoms, pieces of the sacrum have 0.15 or more, and vertebrae 0.035 or less.
"""

LEAST_SACRAL = 1e-6
"""Probability of S1 for other instances."""

_RARELY = math.log(1e-4)


def _of_instances(model: SpineModel) -> SpineModel:
    return replace(model, halved=IMPOSSIBLE, extra=_RARELY, extra_small=_RARELY, below_sacrum=0.0)


MODEL = _of_instances(NETWORK)
CAUTIOUS_MODEL = _of_instances(CAUTIOUS)
"""Spines whose pieces are instances: never two of one vertebra, and rarely something else, as seeds
are chosen a step apart; a sacrum may be several. The second gives the probabilities of the first
one's labels."""


class Evidence(NamedTuple):
    """What speaks for the levels of a spine's instances, cranial first, and of a sacrum below them.

    Attributes:
        scores: (n, C) log-probability of each label; of background for no vertebra.
        centres_mm: (n, 3) centres.
        sizes: (n,) cells.
    """

    scores: np.ndarray
    centres_mm: np.ndarray
    sizes: np.ndarray


def of_spine(bone: Bone, owner: np.ndarray, groups: np.ndarray) -> list[int]:
    """Numbers of the spine's instances, cranial first: others lie apart, in another group."""
    labels = labels_of_spine(bone.as_map(owner), bone.cell_mm, groups)
    return [label - 1 for label in sorted(labels)]


def evidence_of(
    bone: Bone,
    seeds: Seeds,
    owner: np.ndarray,
    kept: Sequence[int],
    scores: np.ndarray,
    logits: np.ndarray | None,
) -> Evidence:
    """Evidence of some instances' cells, the more so the nearer they lie to the seed.

    Args:
        bone: the cells.
        seeds: seeds of all instances.
        owner: instance of each cell.
        kept: numbers of the instances of the spine.
        scores: (C, cells) log-softmax.
        logits: (C, X, Y, Z) of the scan, if those of the sacrum mean anything.
    """
    floor = math.log(LEAST_PROBABILITY)
    table = np.full((len(kept), NUM_CLASSES), floor)
    sizes: list[int] = []
    for row, index in zip(table, kept, strict=True):
        own = owner == index
        distance = np.linalg.norm(bone.places_mm[own] - seeds.places_mm[index], axis=1)
        weight = np.exp(-((distance / (BODY_STEPS * seeds.steps_mm[index])) ** 2) / 2) + 1e-6
        row[: len(scores)] = np.maximum(scores[:, own], floor) @ (weight / weight.sum())
        sizes.append(int(np.count_nonzero(own)))
    centres = seeds.places_mm[kept]
    is_unlike = table[:, BACKGROUND] >= math.log(SACRAL_BACKGROUND)
    table[:, SACRUM] = np.where(is_unlike, table[:, BACKGROUND], math.log(LEAST_SACRAL))
    below = None if logits is None else _sacrum(bone, seeds.chosen(np.array(kept)), logits)
    if below is not None:
        table = np.vstack([table, below[0]])
        centres = np.vstack([centres, below[1]])
        sizes.append(below[2])
    return Evidence(table, centres, np.array(sizes))


def _sacrum(
    bone: Bone, seeds: Seeds, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Evidence (C,), place (3,) in mm and size of the sacrum below the lowest instance, if any.

    The place of a sacrum that touches the lowest instance is where its first segment usually is;
    that of another one is the middle of its nearest part.
    """
    margin = np.ceil(SACRUM_REACH_MM / bone.cell_mm).astype(int)
    start = np.maximum(np.array(bone.box.start) - margin, 0)
    stop = np.minimum(np.array(bone.box.stop) + margin, logits.shape[1:])
    around = Box.of([slice(int(a), int(b)) for a, b in zip(start, stop, strict=True)])
    local = logits[(slice(None), *around.slices)]
    # Background's logit holds the sacrum's share too.
    likely = local[SACRUM] > local[BACKGROUND] - math.log(2)
    likely[bone.box.inside(around).slices] &= ~bone.mask
    parts = cc3d.connected_components(likely, connectivity=6)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    if sizes.max() * bone.cell_ml < SACRUM_ML:
        return None
    cells = np.argwhere(parts == sizes.argmax())
    places = (cells + start - bone.box.start) * bone.cell_mm
    lowest, step = seeds.places_mm[-1], float(seeds.steps_mm[-1])
    distance = np.linalg.norm(places - lowest, axis=1)
    near = distance <= float(distance.min()) + step / 2
    chosen, place = cells[near], places[near].mean(axis=0)
    if distance.min() <= step:
        way = place - lowest
        place = lowest + way / np.linalg.norm(way) * STEP_MM["L5", "S1"]
    scores = log_softmax(local[:, *chosen.T].astype(np.float32), axis=0)
    evidence = np.full(NUM_CLASSES, math.log(LEAST_PROBABILITY))
    evidence[: len(scores)] = np.maximum(scores, math.log(LEAST_PROBABILITY)).mean(axis=1)
    return evidence, place, len(chosen)
