"""Vertebrae told apart before they are named.

A network with auxiliary outputs (`vertseg.networks.metadata.AUXILIARY`) marks the centres of
vertebral bodies, and lets each cell of bone vote for the centre of its own vertebra. Cells become
instances first; each instance then gets one name, from its cells' classes and the order of the
spine (docs/decoding.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from scipy import ndimage
from scipy.special import expit, log_softmax, logsumexp

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, IDS, NAMES, NUM_CLASSES, RANK, SACRUM
from vertseg.networks.metadata import OFFSET_CELLS
from vertseg.segmentation.numbering import LEAST_PROBABILITY, most_probable_levels, number_levels
from vertseg.segmentation.pieces import (
    IMPOSSIBLE,
    SMALLEST_ML,
    Certainty,
    Change,
    Spine,
    labels_of_spine,
)
from vertseg.segmentation.spine_model import CAUTIOUS, NETWORK, STEP_MM

VOTE_SPREAD = 1.2
"""SD in cells of the smoothing of votes."""

HALF_VOTES = 2.0
"""Density of smoothed votes, per cell, that counts half: that of a small vertebra counts 0.7."""

LEAST_PEAK = 0.1
"""Smallest value of a possible seed in the map of seeds, from 0 to 1."""

MOST_PEAKS = 300
"""Most peaks that are looked at, the highest first."""

WORTH = 4.0
"""Value of a seed of height 1 in the chain of seeds."""

SEED_COST = 0.6
"""Cost of each seed in the chain: peaks lower than 0.15 are worth nothing by themselves."""

SPACING_SD = 0.2
"""SD of the logarithm of the distance of two seeds in the chain, in steps."""

GAP_COST = 3.0
"""Largest cost of a distance in the chain: that of a gap."""

TILT_COST = 2.0
"""Cost of a step across the patient in the chain; by the squared sine for less tilted ones."""

STEEP = 0.4
"""Smallest share of the distance of two seeds in the chain that leads downwards."""

ASIDE = 0.5
"""Weight of the part of a vote's distance from a seed that lies across the spine."""

APART_STEPS = 0.6
"""Smallest distance of two seeds, in expected distances between neighbours (steps)."""

VOTE_STEPS = 0.6
"""Largest distance of a cell's vote from the seed of its instance, in steps."""

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

LONG_STEPS = 1.6
"""Length along the spine, or distance of seeds, in steps, from which a vertebra was missed."""

FILLED = 0.25
"""Smallest share of bone around a missed seed."""

BODY_STEPS = 0.5
"""SD of a cell's weight in an instance's evidence by its distance from the seed, in steps."""

AXIS_STEPS = 0.45
"""Radius in steps of the column of bodies, within which the length of an instance is measured."""

REACH_STEPS = 2.0
"""Largest way through bone, in steps, from an instance's cells to cells without a near vote."""

LEAST_RESOLVED = 0.3
"""Smallest share of bone, in the reach of seeds, with votes near one of them, at which instances
are trusted."""

SURE_BONE = 0.78
"""Smallest mean probability that a spine's cells are of any vertebra, whichever."""

SACRUM_ML = 3.0
"""Smallest volume of a sacrum in view."""

SACRUM_REACH_MM = 60.0
"""Distance from the vertebrae's cells within which a sacrum is looked for."""

MOST_INSTANCES = 40
"""Most instances of a scan: more than a spine has vertebrae."""

MARGIN_CELLS = 3
"""Cells around bone whose logits interpolation may read, and where its centres may lie."""

CONTRAST = 1.0
"""Advantage of an instance's own label over its neighbours' labels, as a logit."""

_RARELY = math.log(1e-4)
MODEL = replace(NETWORK, halved=IMPOSSIBLE, extra=_RARELY, extra_small=_RARELY)
CAUTIOUS_MODEL = replace(CAUTIOUS, halved=IMPOSSIBLE, extra=_RARELY, extra_small=_RARELY)
"""Spines whose pieces are instances: never two of one vertebra, and rarely something else, as seeds
are chosen a step apart. The second gives the probabilities of the first one's labels."""


def _steps_by_label() -> np.ndarray:
    """Expected distance in mm to the neighbours of each label, (NUM_CLASSES,)."""
    beside: dict[int, list[float]] = {label: [] for label in range(NUM_CLASSES)}
    for pair, distance in STEP_MM.items():
        for name in pair:
            if name in IDS:
                beside[IDS[name]].append(distance)
    usual = float(np.mean(list(STEP_MM.values())))
    return np.array([np.mean(values) if values else usual for values in beside.values()])


_STEPS = _steps_by_label()


@dataclass(frozen=True)
class Seeds:
    """Centres of instances, cranial first.

    Attributes:
        places_mm: (n, 3) from the middle of the first cell.
        steps_mm: (n,) expected distance to the neighbours.
    """

    places_mm: np.ndarray
    steps_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.places_mm)

    def sorted(self) -> "Seeds":
        """The same seeds, cranial first."""
        order = np.argsort(-self.places_mm[:, 2], kind="stable")
        return Seeds(self.places_mm[order], self.steps_mm[order])

    def chosen(self, which: np.ndarray) -> "Seeds":
        """Some of the seeds."""
        return Seeds(self.places_mm[which], self.steps_mm[which])

    def axis(self, index: int) -> np.ndarray:
        """Unit vector (3,) along the spine at a seed, through its neighbours."""
        upper, lower = max(index - 1, 0), min(index + 1, len(self) - 1)
        way = self.places_mm[upper] - self.places_mm[lower]
        length = float(np.linalg.norm(way))
        return way / length if length else np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Bone:
    """Cells of bone of a scan.

    Attributes:
        box: part of the grid that holds all of them, with a margin.
        mask: bool (X, Y, Z) in the box.
        cells: (n, 3) their indices in the box.
        score: (n,) logarithm of their probability of being a vertebra, up to a constant by cell.
        labels: (n,) the classes of their largest logits among vertebrae.
        cell_mm: (3,) size of a cell.
    """

    box: Box
    mask: np.ndarray
    cells: np.ndarray
    score: np.ndarray
    labels: np.ndarray
    cell_mm: np.ndarray

    @property
    def places_mm(self) -> np.ndarray:
        """Places (n, 3) from the middle of the box's first cell."""
        return self.cells * self.cell_mm

    @property
    def steps_mm(self) -> np.ndarray:
        """Expected distance (n,) to the neighbours of the cells' own classes."""
        return _STEPS[self.labels]

    def as_map(self, owner: np.ndarray) -> np.ndarray:
        """Numbers (n,) of the cells as a map (X, Y, Z) of the box, plus 1; 0 elsewhere."""
        filled = np.zeros(self.mask.shape, np.int16)
        filled[self.mask] = owner + 1
        return filled


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
    kept = np.array(labels_of_spine(bone.as_map(owner), cell_mm)) - 1
    names, certainty = _names(bone, seeds, owner, kept, scores, logits if sacrum_learned else None)
    if "offsets" in parts:
        votes = _votes(bone, parts["offsets"])
        owner = _by_votes_and_names(bone, seeds, owner, votes, names, scores)
    found = np.where(owner >= 0, names[owner], BACKGROUND)
    confidence = {
        int(label): round(float(np.exp(scores[label, found == label]).mean()), 3)
        for label in sorted(set(found.tolist()) - {BACKGROUND}, key=RANK.__getitem__)
    }
    bone_confidence = {
        label: round(_bone_probability(scores[:, found == label]), 3) for label in confidence
    }
    dismissed = _dismissed(bone, owner, kept, scores)
    # Levels may be unsure where bone is not: in a thorax without its ends, say.
    if confidence and not _is_sure(scores[:, found > BACKGROUND]):
        dismissed |= confidence
        confidence, bone_confidence, certainty = {}, {}, None
        found = np.full_like(found, BACKGROUND)
    changes = _changes(bone, owner, kept, names) if confidence else ()
    _write(bone, found, logits, label_map)
    return Spine(
        confidence,
        dismissed=dismissed,
        cell_mm=float(np.max(cell_mm)),
        changes=changes,
        certainty=certainty,
        resolved=round(resolved, 3),
        bone_confidence=bone_confidence,
    )


def _bone_probability(scores: np.ndarray) -> float:
    """Mean probability that cells with this log-softmax (C, n) are of any vertebra, whichever."""
    return float(-np.expm1(scores[BACKGROUND]).mean())


def _is_sure(scores: np.ndarray) -> bool:
    """Whether cells with this log-softmax (C, n) are those of a spine."""
    return _bone_probability(scores) >= SURE_BONE


def find_bone(logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray) -> Bone | None:
    """Cells that are more probably a vertebra, whichever, than background.

    Pieces smaller than a vertebra are left out. None without any bone.
    """
    # A sum of probabilities exceeds background's only near cells that prefer a vertebra.
    spots = ndimage.find_objects((label_map > BACKGROUND).astype(np.uint8))
    if not spots or spots[0] is None:
        return None
    box = Box.of(
        [
            slice(max(side.start - MARGIN_CELLS, 0), min(side.stop + MARGIN_CELLS, size))
            for side, size in zip(spots[0], label_map.shape, strict=True)
        ]
    )
    local = logits[(slice(None), *box.slices)]
    vertebrae = sorted(label for label in NAMES if label < len(logits))
    best = local[vertebrae[0]].copy()
    for label in vertebrae[1:]:
        np.maximum(best, local[label], out=best)
    likely = best + math.log(len(vertebrae)) > local[BACKGROUND]
    scores = local[:, likely][vertebrae]
    score = logsumexp(scores, axis=0)
    mask = np.zeros(likely.shape, bool)
    mask[likely] = score > local[BACKGROUND][likely]
    parts = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(parts.ravel())
    large = sizes * np.prod(cell_mm) / 1000 >= SMALLEST_ML
    large[0] = False
    mask &= large[parts]
    if not mask.any():
        return None
    inside = mask[likely]
    labels = np.array(vertebrae)[scores[:, inside].argmax(axis=0)]
    return Bone(box, mask, np.argwhere(mask), score[inside], labels, np.asarray(cell_mm, float))


def find_instances(
    bone: Bone, auxiliary: Mapping[str, np.ndarray]
) -> tuple[Seeds, np.ndarray, float]:
    """Seeds, the instance (n,) of each cell of bone (-1 for none), and the share resolved.

    The share resolved is that of bone cells, within a step of any seed, which belong to one: by
    their votes or, for a network without offsets, by their distance through bone.

    Args:
        bone: the cells.
        auxiliary: the network's outputs in the bone's box, (channels, X, Y, Z) each.
    """
    votes = None
    if "offsets" in auxiliary:
        votes = _votes(bone, auxiliary["offsets"])
    seeds = _find_seeds(bone, auxiliary.get("centres"), votes)
    owner = _owners(bone, seeds, votes)
    seeds, owner = _supported(bone, seeds, owner, votes)
    if not len(seeds):
        return seeds, owner, 0.0
    near = np.zeros(len(owner), bool)
    for place, step in zip(seeds.places_mm, seeds.steps_mm, strict=True):
        near |= np.linalg.norm(bone.places_mm - place, axis=1) <= step
    resolved = float(np.mean(owner[near] >= 0)) if near.any() else 0.0
    if votes is not None:
        seeds, owner = _with_rest(bone, seeds, owner)
    owner = _filled(bone, seeds, owner)
    seeds, owner = _with_missed(bone, seeds, owner)
    owner = _in_one_piece(bone, seeds, owner)
    seeds, owner = _supported(bone, seeds, owner, None)
    return seeds, owner, resolved


def _votes(bone: Bone, offsets: np.ndarray) -> np.ndarray:
    """Places (n, 3) in mm that the cells' offsets (3, X, Y, Z) point to."""
    moves = offsets[:, bone.mask].T.astype(float) * OFFSET_CELLS
    return bone.places_mm + moves * bone.cell_mm


def _find_seeds(bone: Bone, centres: np.ndarray | None, votes: np.ndarray | None) -> Seeds:
    """Peaks of the map of centres, of the density of votes, or of the mean of both."""
    maps = []
    shape = bone.mask.shape
    if centres is not None:
        near = ndimage.binary_dilation(bone.mask, iterations=MARGIN_CELLS)
        maps.append(np.where(near, expit(centres[0].astype(np.float32)), 0))
    if votes is not None:
        at = np.rint(votes / bone.cell_mm).astype(int)
        inside = ((at >= 0) & (at < shape)).all(axis=1)
        flat = np.ravel_multi_index(tuple(at[inside].T), shape)
        density = np.bincount(flat, minlength=math.prod(shape)).reshape(shape).astype(np.float32)
        density = ndimage.gaussian_filter(density, VOTE_SPREAD, mode="constant")
        maps.append(density / (density + HALF_VOTES))
    seeds = np.mean(maps, axis=0)
    peaks = (seeds == ndimage.maximum_filter(seeds, 3)) & (seeds >= LEAST_PEAK)
    cells = np.argwhere(peaks)
    order = np.argsort(-seeds[peaks], kind="stable")[:MOST_PEAKS]
    nearest = _nearest_bone(bone)
    steps = _local_steps(bone)[tuple(nearest[:, *cells[order].T])]
    possible = Seeds(cells[order] * bone.cell_mm, steps)
    return possible.chosen(_best_chain(possible, seeds[peaks][order]))


def _best_chain(possible: Seeds, heights: np.ndarray) -> np.ndarray:
    """Numbers of the seeds, cranial first, that make the best spine: high peaks a step apart.

    Args:
        possible: n seeds.
        heights: (n,) values of their peaks, from 0 to 1.
    """
    if not len(possible):
        return np.zeros(0, int)
    order = np.argsort(-possible.places_mm[:, 2], kind="stable")
    places, steps = possible.places_mm[order], possible.steps_mm[order]
    worth = WORTH * heights[order] - SEED_COST
    best, previous = worth.copy(), np.full(len(order), -1)
    for index in range(1, len(order)):
        way = places[:index] - places[index]
        distance = np.maximum(np.linalg.norm(way, axis=1), 1e-6)
        in_steps = distance / ((steps[:index] + steps[index]) / 2)
        cost = np.minimum((np.log(in_steps) / SPACING_SD) ** 2 / 2, GAP_COST)
        cost += TILT_COST * (1 - (way[:, 2] / distance) ** 2)
        allowed = (in_steps >= APART_STEPS) & (way[:, 2] >= STEEP * distance)
        ways = np.where(allowed, best[:index] - cost, -np.inf)
        above = int(ways.argmax())
        if ways[above] > 0:
            best[index] += ways[above]
            previous[index] = above
    chain = [int(best.argmax())]
    while previous[chain[-1]] >= 0:
        chain.append(int(previous[chain[-1]]))
    return order[chain[::-1]]


def _nearest_bone(bone: Bone) -> np.ndarray:
    """Indices (3, X, Y, Z) of the nearest cell of bone."""
    return ndimage.distance_transform_edt(
        ~bone.mask, sampling=bone.cell_mm, return_distances=False, return_indices=True
    )


def _local_steps(bone: Bone) -> np.ndarray:
    """Mean expected step (X, Y, Z) in mm of the bone around each of its cells."""
    steps = np.zeros(bone.mask.shape, np.float32)
    steps[bone.mask] = bone.steps_mm
    around = [ndimage.uniform_filter(values, 7, mode="constant")
              for values in (steps, bone.mask.astype(np.float32))]  # fmt: skip
    return np.where(bone.mask, around[0] / np.maximum(around[1], 1e-6), steps)


def _owners(bone: Bone, seeds: Seeds, votes: np.ndarray | None) -> np.ndarray:
    """Instance (n,) of each cell: that of the seed nearest to its vote, or nearest through bone.

    -1 for cells without a seed in reach.
    """
    if not len(seeds):
        return np.full(len(bone.cells), -1)
    if votes is None:
        return _filled(bone, seeds, _at_seeds(bone, seeds))
    distance = np.stack([
        _distance_along(votes - place, seeds.axis(index), ASIDE) / seeds.steps_mm[index]
        for index, place in enumerate(seeds.places_mm)
    ], axis=1)  # fmt: skip
    owner = distance.argmin(axis=1)
    near = distance[np.arange(len(owner)), owner] <= VOTE_STEPS
    return np.where(near, owner, -1)


def _distance_along(ways: np.ndarray, axis: np.ndarray, aside: float) -> np.ndarray:
    """Length (n,) of ways (n, 3), whose part across an axis counts less."""
    along = ways @ axis
    across = (ways**2).sum(axis=1) - along**2
    return np.sqrt(along**2 + aside**2 * np.maximum(across, 0))


def _at_seeds(bone: Bone, seeds: Seeds) -> np.ndarray:
    """Instances (n,) of the cells within a third of a step of each seed, the nearest at least."""
    distance = np.linalg.norm(bone.places_mm[:, None] - seeds.places_mm, axis=2)
    owner = distance.argmin(axis=1)
    close = distance[np.arange(len(owner)), owner] <= seeds.steps_mm[owner] / 3
    owner = np.where(close, owner, -1)
    owner[distance.argmin(axis=0)] = np.arange(len(seeds))
    return owner


def _filled(bone: Bone, seeds: Seeds, owner: np.ndarray) -> np.ndarray:
    """Instances of all cells in reach: others join the instance that is nearest through bone."""
    reach_mm = REACH_STEPS * float(np.max(seeds.steps_mm, initial=0))
    padded = np.pad(bone.as_map(owner), 1)
    grown = padded.ravel()
    open_cells = np.pad(bone.mask, 1).ravel() & (grown == 0)
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    front = np.flatnonzero(grown)
    for _ in range(math.ceil(reach_mm / float(np.min(bone.cell_mm)))):
        reached = []
        for step in (*strides, *(-stride for stride in strides)):
            cells = front + step
            new = open_cells[cells]
            cells = cells[new]
            grown[cells] = grown[front[new]]
            open_cells[cells] = False
            reached.append(cells)
        front = np.concatenate(reached)
        if not len(front):
            break
    return padded[1:-1, 1:-1, 1:-1][bone.mask].astype(int) - 1


def _supported(
    bone: Bone, seeds: Seeds, owner: np.ndarray, votes: np.ndarray | None
) -> tuple[Seeds, np.ndarray]:
    """Seeds whose instances are large enough for a vertebra; others' cells look for another."""
    cell_ml = float(np.prod(bone.cell_mm)) / 1000
    volumes = np.bincount(owner[owner >= 0], minlength=len(seeds)) * cell_ml
    enough = volumes >= SMALLEST_ML
    if enough.all():
        return seeds, owner
    kept = seeds.chosen(enough)
    if votes is not None:
        return kept, _owners(bone, kept, votes)
    number = np.where(enough, np.cumsum(enough) - 1, -1)
    left = np.where(owner >= 0, number[owner], -1)
    return kept, _filled(bone, kept, left)


def _with_rest(bone: Bone, seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
    """Instances from connected cells without a vote near a seed, if they may be a vertebra.

    They are as large as half of the median instance, and their body lies above or below all seeds,
    not beside one.
    """
    parts = cc3d.connected_components(bone.as_map(np.where(owner < 0, 0, -1)), connectivity=6)
    part_of = parts[bone.mask].astype(int)
    sizes = np.bincount(part_of)
    expected = np.median(np.bincount(owner[owner >= 0], minlength=len(seeds)))
    places, steps = list(seeds.places_mm), list(seeds.steps_mm)
    owner = owner.copy()
    for part in np.flatnonzero(sizes >= expected / 2):
        if part == 0 or len(places) == MOST_INSTANCES:
            continue
        own = part_of == part
        place = _deepest(bone, own)
        heights = np.abs(np.array(places)[:, 2] - place[2])
        if np.any(heights < APART_STEPS * np.array(steps)):
            continue
        owner[own] = len(places)
        places.append(place)
        steps.append(float(np.mean(bone.steps_mm[own])))
    return _renumbered(Seeds(np.array(places), np.array(steps)), owner)


def _deepest(bone: Bone, own: np.ndarray) -> np.ndarray:
    """Place (3,) of the middle of the deepest of some cells (n,) bool."""
    cells = bone.cells[own]
    corner = cells.min(axis=0) - 1
    filled = np.zeros(cells.max(axis=0) - corner + 2, bool)
    filled[tuple((cells - corner).T)] = True
    depth = ndimage.distance_transform_edt(filled, sampling=bone.cell_mm)
    core = np.argwhere(depth > 0.6 * depth.max())
    return (core.mean(axis=0) + corner) * bone.cell_mm


def _renumbered(seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
    """Seeds in order, cranial first, and instances by their new numbers."""
    order = np.argsort(-seeds.places_mm[:, 2], kind="stable")
    number = np.empty(len(order), int)
    number[order] = np.arange(len(order))
    return seeds.chosen(order), np.where(owner >= 0, number[owner], -1)


def _with_missed(bone: Bone, seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
    """Seeds for vertebrae without one: in wide gaps between seeds, and in instances too long."""
    owner = owner.copy()
    places, steps = list(seeds.places_mm), list(seeds.steps_mm)
    bone_mm = bone.places_mm
    for upper in range(len(seeds) - 1):
        start, end = seeds.places_mm[upper], seeds.places_mm[upper + 1]
        step = float(np.mean(seeds.steps_mm[upper : upper + 2]))
        way = end - start
        length = float(np.linalg.norm(way))
        if length <= LONG_STEPS * step:
            continue
        count = round(length / step)
        along = (bone_mm - start) @ way / length**2 * count
        between = np.isin(owner, (-1, upper, upper + 1))
        for level in range(1, count):
            place = start + way * level / count
            around = np.linalg.norm(bone_mm - place, axis=1) <= 0.35 * step
            ball = 4 / 3 * math.pi * (0.35 * step) ** 3 / float(np.prod(bone.cell_mm))
            if np.count_nonzero(around & between) < FILLED * ball:
                continue
            owner[between & (np.abs(along - level) <= 0.5)] = len(places)
            places.append(place)
            steps.append(step)
    complete = Seeds(np.array(places), np.array(steps))
    return _split(bone, *_renumbered(complete, owner))


def _split(bone: Bone, seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
    """Divide instances whose column of bodies is too long for one vertebra."""
    owner = owner.copy()
    places, steps = list(seeds.places_mm), list(seeds.steps_mm)
    bone_mm = bone.places_mm
    for index in range(len(seeds)):
        own = np.flatnonzero(owner == index)
        axis, step = seeds.axis(index), float(seeds.steps_mm[index])
        from_seed = bone_mm[own] - seeds.places_mm[index]
        along = from_seed @ axis
        beside = np.linalg.norm(from_seed - along[:, None] * axis, axis=1)
        column = along[beside <= AXIS_STEPS * step]
        if not len(column):
            continue
        low, high = np.percentile(column, (5, 95))
        if high - low <= LONG_STEPS * step:
            continue
        count = max(round((high - low) / step), 2)
        level = np.clip((high - along) / (high - low) * count, 0, count - 1e-6).astype(int)
        middle = high - (np.arange(count) + 0.5) * (high - low) / count
        there = seeds.places_mm[index] + middle[:, None] * axis
        places[index] = there[0]
        for extra in range(1, count):
            owner[own[level == extra]] = len(places)
            places.append(there[extra])
            steps.append(step)
    return _renumbered(Seeds(np.array(places), np.array(steps)), owner)


def _in_one_piece(bone: Bone, seeds: Seeds, owner: np.ndarray) -> np.ndarray:
    """Instances of one piece each: other pieces join the instance that they touch."""
    parts = cc3d.connected_components(bone.as_map(owner), connectivity=26)
    part_of = parts[bone.mask].astype(int)
    sizes = np.bincount(part_of)
    largest: dict[int, int] = {}
    for part, instance in dict(zip(part_of.tolist(), owner.tolist(), strict=True)).items():
        if instance >= 0 and sizes[part] > sizes[largest.get(instance, 0)] * (instance in largest):
            largest[instance] = part
    main = np.isin(part_of, list(largest.values()))
    return _filled(bone, seeds, np.where(main, owner, -1))


def _names(
    bone: Bone,
    seeds: Seeds,
    owner: np.ndarray,
    kept: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    logits: np.ndarray | None,
) -> tuple[np.ndarray, Certainty | None]:
    """Label (n,) of each instance, background for those that are left out, and its probability.

    Args:
        bone: the cells.
        seeds: n seeds.
        owner: instance of each cell.
        kept: numbers of the instances of the spine.
        scores: (C, cells) log-softmax.
        logits: (C, X, Y, Z) of the scan, if those of the sacrum mean anything.
    """
    names = np.full(len(seeds), BACKGROUND)
    kept = sorted(kept)
    if not kept:
        return names, None
    floor = math.log(LEAST_PROBABILITY)
    evidence: list[np.ndarray] = []
    sizes: list[int] = []
    for index in kept:
        own = owner == index
        distance = np.linalg.norm(bone.places_mm[own] - seeds.places_mm[index], axis=1)
        weight = np.exp(-((distance / (BODY_STEPS * seeds.steps_mm[index])) ** 2) / 2) + 1e-6
        evidence.append(np.maximum(scores[:, own], floor) @ (weight / weight.sum()))
        sizes.append(int(np.count_nonzero(own)))
    table = np.full((len(kept), NUM_CLASSES), floor)
    table[:, : len(scores)] = evidence
    centres = seeds.places_mm[kept]
    if logits is not None:
        below = _sacrum(bone, seeds.chosen(np.array(kept)), logits)
        if below is not None:
            table = np.vstack([table, below[0]])
            centres = np.vstack([centres, below[1]])
            sizes.append(below[2])
    else:
        table[:, SACRUM] = table[:, BACKGROUND]
    points, cells = np.asarray(centres), np.array(sizes)
    best = most_probable_levels(table, points, cells, MODEL)
    numbering = number_levels(table, points, cells, CAUTIOUS_MODEL, best)
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
        distance = _distance_along(ways, seeds.axis(index), ASIDE) / seeds.steps_mm[index]
        classes = np.maximum(scores[names[index], cells], LEAST_CLASS[trusted])
        # Growth through bone brought the other cells, whose votes lie far from all seeds.
        near = (distance <= 2 * VOTE_STEPS) | (owner[cells] == index)
        gain[:, column] = np.where(near, classes - (distance / VOTE_SD[trusted]) ** 2 / 2, -np.inf)
    refined = owner.copy()
    refined[cells] = named[gain.argmax(axis=1)]
    return _in_one_piece(bone, seeds, refined)


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
    if sizes.max() * np.prod(bone.cell_mm) / 1000 < SACRUM_ML:
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
    bone: Bone, owner: np.ndarray, kept: Sequence[int] | np.ndarray, scores: np.ndarray
) -> dict[int, float]:
    """Mean softmax, by the most frequent class, of instances apart from the spine."""
    dismissed = {}
    for index in set(owner[owner >= 0].tolist()) - set(np.asarray(kept).tolist()):
        own = owner == index
        label = int(np.bincount(bone.labels[own]).argmax())
        dismissed[label] = round(float(np.exp(scores[label, own]).mean()), 3)
    return dismissed


def _changes(
    bone: Bone, owner: np.ndarray, kept: Sequence[int] | np.ndarray, names: np.ndarray
) -> tuple[Change, ...]:
    """Instances whose name is not the most frequent class of their cells, cranial first."""
    changes = []
    for index in sorted(np.asarray(kept).tolist()):
        own = owner == index
        before = int(np.bincount(bone.labels[own]).argmax())
        if before != names[index]:
            volume = float(np.count_nonzero(own) * np.prod(bone.cell_mm)) / 1000
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
    to_bone, nearest = ndimage.distance_transform_edt(inner == BACKGROUND, return_indices=True)
    # Interpolation reads the cells around bone alone.
    near = to_bone <= MARGIN_CELLS
    score = np.full(inner.shape, IMPOSSIBLE, np.float32)
    score[near] = logsumexp(local[:, near][vertebrae], axis=0)
    dropped = bone.mask & (inner == BACKGROUND)
    score[dropped] = IMPOSSIBLE
    owner = inner[tuple(nearest)]
    for label in sorted(set(found.tolist()) - {BACKGROUND}):
        local[label] = np.where(owner == label, score, score - CONTRAST)
