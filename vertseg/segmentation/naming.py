"""One name for each instance, from its cells' classes and the order of the spine."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cc3d
import numpy as np
from scipy.special import log_softmax, logsumexp

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import grown_labels
from vertseg.anatomy.labels import BACKGROUND, NAMES, NUM_CLASSES, RANK, SACRUM
from vertseg.segmentation.bone import MARGIN_CELLS, Bone, Seeds, find_bone
from vertseg.segmentation.instances import (
    ASIDE,
    MOST_INSTANCES,
    VOTE_STEPS,
    distance_along,
    find_instances,
    in_one_piece,
    renumbered,
    votes_of,
)
from vertseg.segmentation.numbering import (
    LEAST_PROBABILITY,
    log_total,
    most_probable_levels,
    number_levels,
)
from vertseg.segmentation.pieces import (
    IMPOSSIBLE,
    SMALLEST_ML,
    Certainty,
    Change,
    Reading,
    Spine,
    groups_of,
    labels_of_spine,
)
from vertseg.segmentation.spine_model import CAUTIOUS, NETWORK, STEP_MM
from vertseg.segmentation.trust import trusted

TRUSTED_AGREEMENT = 0.85
"""Share of bone whose class is its instance's name, from which on classes are trusted at borders.

That of the least of 14 held-out phantoms; real scans have 0.3 to 0.9.
"""

VOTE_SD = (0.3, 0.4)
"""SD of votes around the seed of their instance, in steps; where classes are trusted, the second.
"""

LEAST_CLASS = (-2.0, -4.0)
"""Lower limit of the logarithm of a class's probability at the borders between instances; where
classes are trusted, the second."""
BODY_STEPS = 0.5
"""SD of a cell's weight in an instance's evidence by its distance from the seed, in steps."""
LEAST_RESOLVED = 0.3
"""Smallest share of bone, in the reach of seeds, with votes near one of them, at which instances
are trusted."""

SURE_BONE = 0.78
"""Smallest mean probability that a spine's cells are of any vertebra, whichever."""

SACRUM_ML = 3.0
"""Smallest volume of a sacrum in view."""

SACRUM_REACH_MM = 60.0
"""Distance from the vertebrae's cells within which a sacrum is looked for."""
CONTRAST = 1.0
"""Advantage of an instance's own label over its neighbours' labels, as a logit."""

WIDE_STEPS = 1.2
"""Mean distance from its neighbours, in steps, from which an instance may be two vertebrae."""

TWO_ODDS = 10.0
"""Odds for two vertebrae in place of one, from which an instance is divided."""

BESIDE_ML = 60.0
"""Smallest volume of bone of no vertebra that may be a second spine's: about that of a vertebra."""

BESIDE_SHARE = 0.3
"""Smallest share of the spine's volume for the same.

Two phantoms side by side had 1.0 and more, nine real scans and single phantoms 0.2 at most.
"""

_RARELY = math.log(1e-4)
MODEL = replace(NETWORK, halved=IMPOSSIBLE, extra=_RARELY, extra_small=_RARELY)
CAUTIOUS_MODEL = replace(CAUTIOUS, halved=IMPOSSIBLE, extra=_RARELY, extra_small=_RARELY)
"""Spines whose pieces are instances: never two of one vertebra, and rarely something else, as seeds
are chosen a step apart. The second gives the probabilities of the first one's labels."""


def name_instances(
    logits: np.ndarray,
    label_map: np.ndarray,
    auxiliary: Mapping[str, np.ndarray],
    cell_mm: np.ndarray,
    sacrum_learned: bool,
) -> Spine | None:
    """Tell vertebrae apart and name each one; logits and label map are changed.

    Args:
        logits: (C, X, Y, Z) floating; background's are those of all that is no vertebra.
        label_map: labels (X, Y, Z) uint8 of the largest logits.
        auxiliary: the network's outputs beside the classes by name, (channels, X, Y, Z) each.
        cell_mm: size of a cell along x, y and z.
        sacrum_learned: whether logits of the sacrum mean anything.

    Returns:
        The vertebrae found. None, with nothing changed, where instances cannot be told apart.
    """
    bone = find_bone(logits, label_map, cell_mm)
    if bone is None:
        label_map[:] = BACKGROUND
        return Spine({}, cell_mm=float(np.max(cell_mm)), resolved=1.0)
    parts = {name: values[(slice(None), *bone.box.slices)] for name, values in auxiliary.items()}
    seeds, owner, resolved = find_instances(bone, parts)
    local = logits[(slice(None), *bone.box.slices)]
    scores = log_softmax(local[:, bone.mask].astype(np.float32), axis=0)
    if not len(seeds) or resolved < LEAST_RESOLVED:
        if _is_sure(scores):
            return None
        label_map[:] = BACKGROUND
        label = int(np.bincount(bone.labels).argmax())
        unsure = {label: round(float(np.exp(scores[label]).mean()), 3)}
        return Spine({}, dismissed=unsure, cell_mm=float(np.max(cell_mm)), resolved=1.0)
    sacrum_logits = logits if sacrum_learned else None
    groups = groups_of(bone.as_map(owner), bone.cell_mm)
    seeds, owner, kept = _divided(bone, seeds, owner, groups, scores, sacrum_logits)
    evidence = _evidence(bone, seeds, owner, kept, scores, sacrum_logits)
    names, by_order = _names(len(seeds), kept, evidence)
    votes = votes_of(bone, parts["offsets"]) if "offsets" in parts else None
    if votes is not None:
        owner = _by_votes_and_names(bone, seeds, owner, votes, names, scores)
    found = np.where(owner >= 0, names[owner], BACKGROUND)
    confidence = {
        int(label): round(float(np.exp(scores[label, found == label]).mean()), 3)
        for label in sorted(set(found.tolist()) - {BACKGROUND}, key=RANK.__getitem__)
    }
    readings = {
        label: _reading(seeds, names.tolist().index(label), votes, scores, found == label)
        for label in confidence
    }
    dismissed = _dismissed(bone, owner, kept, scores)
    # Levels may be unsure where bone is not: in a thorax without its ends, say.
    if confidence and not _is_sure(scores[:, found > BACKGROUND]):
        dismissed |= confidence
        confidence, readings = {}, {}
        found = np.full_like(found, BACKGROUND)
    certainty = by_order if readings else None
    if certainty and votes is not None:
        certainty = trusted(certainty, readings)
    changes = _changes(bone, owner, kept, names) if confidence else ()
    _write(bone, found, logits, label_map)
    return Spine(
        confidence,
        dismissed=dismissed,
        cell_mm=float(np.max(cell_mm)),
        changes=changes,
        certainty=certainty,
        by_order=by_order if readings else None,
        resolved=round(resolved, 3),
        readings=readings,
        beside_ml=_beside_ml(bone, owner),
    )


def _beside_ml(bone: Bone, owner: np.ndarray) -> float:
    """Volume of the cells without an instance (-1 in `owner`, (n,)); 0 if no second spine's."""
    left_over = int(np.count_nonzero(owner < 0))
    volume = left_over * bone.cell_ml
    is_large = volume >= BESIDE_ML and left_over >= BESIDE_SHARE * (len(owner) - left_over)
    return round(volume, 1) if is_large else 0.0


def _reading(
    seeds: Seeds, index: int, votes: np.ndarray | None, scores: np.ndarray, own: np.ndarray
) -> Reading:
    """What the network says of an instance, whatever its name.

    Args:
        seeds: seeds of all instances.
        index: its number.
        votes: votes (n, 3) of all cells, if there are any.
        scores: (C, n) log-softmax of all cells.
        own: (n,) whether a cell is the instance's.
    """
    distance = None
    if votes is not None:
        away = np.linalg.norm(votes[own] - seeds.places_mm[index], axis=1)
        distance = round(float(np.median(away)) / float(seeds.steps_mm[index]), 3)
    vertebrae = sorted(label for label in NAMES if label < len(scores))
    classes = np.exp(scores[vertebrae][:, own]).mean(axis=1)
    return Reading(
        distance, round(_bone_probability(scores[:, own]), 3), round(float(classes.max()), 3)
    )


def _bone_probability(scores: np.ndarray) -> float:
    """Mean probability that cells with this log-softmax (C, n) are of any vertebra, whichever."""
    return float(-np.expm1(scores[BACKGROUND]).mean())


def _is_sure(scores: np.ndarray) -> bool:
    """Whether cells with this log-softmax (C, n) are those of a spine."""
    return _bone_probability(scores) >= SURE_BONE


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


def _of_spine(bone: Bone, owner: np.ndarray, groups: np.ndarray) -> list[int]:
    """Numbers of the spine's instances, cranial first: others lie apart, in another group."""
    labels = labels_of_spine(bone.as_map(owner), bone.cell_mm, groups)
    return [label - 1 for label in sorted(labels)]


def _evidence(
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
    if logits is None:
        table[:, SACRUM] = table[:, BACKGROUND]
    elif (below := _sacrum(bone, seeds.chosen(np.array(kept)), logits)) is not None:
        table = np.vstack([table, below[0]])
        centres = np.vstack([centres, below[1]])
        sizes.append(below[2])
    return Evidence(table, centres, np.array(sizes))


def _divided(
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
    kept = _of_spine(bone, owner, groups)
    wide = list(_wide(seeds, kept))
    if not wide or len(seeds) >= MOST_INSTANCES:
        return seeds, owner, kept

    def evidence(seeds: Seeds, owner: np.ndarray) -> Evidence:
        return _evidence(bone, seeds, owner, _of_spine(bone, owner, groups), scores, logits)

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
            return _divided(bone, *possible[best], groups, scores, logits)
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


def _names(
    count: int, kept: Sequence[int], evidence: Evidence
) -> tuple[np.ndarray, Certainty | None]:
    """Label (count,) of each instance, background for those that are left out, and its probability.

    Args:
        count: number of instances.
        kept: numbers of the instances of the spine, at least one.
        evidence: theirs, and that of a sacrum below them.
    """
    names = np.full(count, BACKGROUND)
    best = most_probable_levels(*evidence, MODEL)
    numbering = number_levels(*evidence, CAUTIOUS_MODEL, best)
    decoded = best[: len(kept)]
    names[kept] = np.where(decoded == SACRUM, BACKGROUND, decoded)
    return names, numbering.certainty()


def _by_votes_and_names(
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
    """
    named = np.flatnonzero(names != BACKGROUND)
    cells = np.flatnonzero(np.isin(owner, named))
    if not len(cells):
        return owner
    agreement = float(np.mean(bone.labels[cells] == names[owner[cells]]))
    trusted = int(agreement >= TRUSTED_AGREEMENT)
    gain = np.full((len(cells), len(named)), -np.inf)
    for column, index in enumerate(named.tolist()):
        ways = votes[cells] - seeds.places_mm[index]
        distance = distance_along(ways, seeds.axis(index), ASIDE) / seeds.steps_mm[index]
        classes = np.maximum(scores[names[index], cells], LEAST_CLASS[trusted])
        # Growth through bone brought the other cells, whose votes lie far from all seeds.
        near = (distance <= 2 * VOTE_STEPS) | (owner[cells] == index)
        gain[:, column] = np.where(near, classes - (distance / VOTE_SD[trusted]) ** 2 / 2, -np.inf)
    refined = owner.copy()
    refined[cells] = named[gain.argmax(axis=1)]
    refined = in_one_piece(bone, seeds, refined)
    left_ml = np.bincount(refined[refined >= 0], minlength=len(seeds))[named] * bone.cell_ml
    return refined if (left_ml >= SMALLEST_ML).all() else owner


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


def _dismissed(
    bone: Bone, owner: np.ndarray, kept: Sequence[int], scores: np.ndarray
) -> dict[int, float]:
    """Mean softmax, by the most frequent class, of instances apart from the spine."""
    dismissed = {}
    for index in set(owner[owner >= 0].tolist()) - set(kept):
        own = owner == index
        label = int(np.bincount(bone.labels[own]).argmax())
        dismissed[label] = round(float(np.exp(scores[label, own]).mean()), 3)
    return dismissed


def _changes(
    bone: Bone, owner: np.ndarray, kept: Sequence[int], names: np.ndarray
) -> tuple[Change, ...]:
    """Instances whose name is not the most frequent class of their cells, cranial first."""
    changes = []
    for index in kept:
        own = owner == index
        before = int(np.bincount(bone.labels[own]).argmax())
        if before != names[index]:
            volume = float(np.count_nonzero(own)) * bone.cell_ml
            changes.append(Change(before, int(names[index]), round(volume, 2)))
    return tuple(changes)


def _write(bone: Bone, found: np.ndarray, logits: np.ndarray, label_map: np.ndarray) -> None:
    """Make the labels found (n,) those of the label map, and the largest logits around them.

    Around each instance, its label gets the score of all vertebrae together, and the labels of its
    neighbours a bit less: between two instances, interpolation then changes from one to the other
    halfway, and the surface of bone stays where it was.
    """
    vertebrae = sorted(label for label in NAMES if label < len(logits))
    label_map[:] = BACKGROUND
    inner = label_map[bone.box.slices]
    inner[bone.mask] = found
    local = logits[(slice(None), *bone.box.slices)]
    # Interpolation reads the cells around bone alone.
    owner = grown_labels(inner, MARGIN_CELLS)
    near = owner > BACKGROUND
    score = logsumexp(local[:, near][vertebrae], axis=0)
    score[(bone.mask & (inner == BACKGROUND))[near]] = IMPOSSIBLE
    owner = owner[near]
    for label in sorted(set(found.tolist()) - {BACKGROUND}):
        local[label] = IMPOSSIBLE
        local[label][near] = np.where(owner == label, score, score - CONTRAST)
