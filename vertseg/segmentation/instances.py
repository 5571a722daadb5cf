"""Vertebrae told apart: the instances of bone's cells.

A network with auxiliary outputs (`vertseg.networks.metadata.AUXILIARY`) marks the centres of
vertebral bodies, and lets each cell of bone vote for the centre of its own vertebra
(docs/decoding.md). `vertseg.segmentation.naming` then gives each instance one name.
"""

import math
from collections.abc import Mapping
from itertools import takewhile

import cc3d
import numpy as np
from scipy import ndimage
from scipy.special import expit

from vertseg.anatomy.centroids import BODY_DEPTH
from vertseg.anatomy.distances import core_voxels
from vertseg.anatomy.labels import IDS
from vertseg.networks.metadata import OFFSET_CELLS
from vertseg.segmentation.bone import MARGIN_CELLS, STEPS, Bone, Seeds
from vertseg.segmentation.pieces import SMALLEST_ML

VOTE_SPREAD = 1.2
"""SD in cells of the smoothing of votes."""

HALF_VOTES = 2.0
"""Density of smoothed votes, per cell, that counts half: that of a small vertebra counts 0.7."""

LEAST_PEAK = 0.1
"""Smallest value of a possible seed in the map of seeds, from 0 to 1."""

MOST_PEAKS = 300
"""Most peaks that are looked at, the highest first."""

WORTH = 8.0
"""Value of a seed of height 1 in the chain of seeds.

Weights of the chain are chosen by the names of vertebrae in 144 phantoms
(`python -m studies.instance_weights`).
"""

SEED_COST = 0.6
"""Cost of each seed in the chain: peaks lower than 0.075 are worth nothing by themselves."""

SPACING_SD = 0.2
"""SD of the logarithm of the distance of two seeds in the chain, in steps."""

GAP_COST = 3.0
"""Largest cost of a distance in the chain: that of a gap."""

TILT_COST = 2.0
"""Cost of a step across the patient in the chain; by the squared sine for less tilted ones."""

STEEP = 0.2
"""Smallest share of the distance of two seeds in the chain that leads downwards."""

ASIDE = 0.5
"""Weight of the part of a vote's distance from a seed that lies across the spine."""

APART_STEPS = 0.6
"""Smallest distance of two seeds, in expected distances between neighbours (steps)."""

VOTE_STEPS = 0.6
"""Largest distance of a cell's vote from the seed of its instance, in steps."""
LONG_STEPS = 1.6
"""Length along the spine, or distance of seeds, in steps, from which a vertebra was missed."""

FILLED = 0.25
"""Smallest share of bone around a missed seed."""
AXIS_STEPS = 0.45
"""Radius in steps of the column of bodies, within which the length of an instance is measured."""

REACH_STEPS = 2.0
"""Largest way through bone, in steps, from an instance's cells to cells without a near vote."""
MOST_INSTANCES = 40
"""Most instances of a scan: more than a spine has vertebrae."""


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
        votes = votes_of(bone, auxiliary["offsets"])
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
    seeds, owner = _with_atlas_and_axis(bone, seeds, owner)
    owner = in_one_piece(bone, seeds, owner)
    seeds, owner = _supported(bone, seeds, owner, None)
    return seeds, owner, resolved


def votes_of(bone: Bone, offsets: np.ndarray) -> np.ndarray:
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
    steps = _local_steps(bone)[tuple(_nearest_bone(bone, cells[order]).T)]
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


def _nearest_bone(bone: Bone, cells: np.ndarray) -> np.ndarray:
    """Indices (n, 3) of the cells of bone that are nearest to some cells (n, 3)."""
    nearest = cells.copy()
    for place in np.flatnonzero(~bone.mask[tuple(cells.T)]):
        away_mm = np.linalg.norm((bone.cells - cells[place]) * bone.cell_mm, axis=1)
        nearest[place] = bone.cells[away_mm.argmin()]
    return nearest


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
        distance_along(votes - place, seeds.axis(index), ASIDE) / seeds.steps_mm[index]
        for index, place in enumerate(seeds.places_mm)
    ], axis=1)  # fmt: skip
    owner = distance.argmin(axis=1)
    near = distance[np.arange(len(owner)), owner] <= VOTE_STEPS
    return np.where(near, owner, -1)


def distance_along(ways: np.ndarray, axis: np.ndarray, aside: float) -> np.ndarray:
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
    volumes = np.bincount(owner[owner >= 0], minlength=len(seeds)) * bone.cell_ml
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
    return renumbered(Seeds(np.array(places), np.array(steps)), owner)


def _deepest(bone: Bone, own: np.ndarray) -> np.ndarray:
    """Place (3,) of the middle of the deepest of some cells (n,) bool."""
    cells = bone.cells[own]
    corner = cells.min(axis=0)
    filled = np.zeros(cells.max(axis=0) - corner + 1, bool)
    filled[tuple((cells - corner).T)] = True
    core = core_voxels(filled, bone.cell_mm, BODY_DEPTH)
    return (core.mean(axis=0) + corner) * bone.cell_mm


def renumbered(seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
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
    return _split(bone, *renumbered(complete, owner))


def _with_atlas_and_axis(bone: Bone, seeds: Seeds, owner: np.ndarray) -> tuple[Seeds, np.ndarray]:
    """Seeds and instances with C1 and C2 told apart by their cells' classes, if both are in view.

    C1 has no body: it lies around C2's dens, so that the votes of both may go to one place.
    """
    pair = [IDS["C1"], IDS["C2"]]

    def is_of_pair(index: int) -> bool:
        return np.bincount(bone.labels[owner == index], minlength=1).argmax() in pair

    of_pair = list(takewhile(is_of_pair, range(len(seeds))))
    cells = np.flatnonzero(np.isin(owner, of_pair))
    parts = [cells[bone.labels[cells] == label] for label in pair]
    if min(map(len, parts)) * bone.cell_ml < SMALLEST_ML:
        return seeds, owner
    places = np.stack([bone.places_mm[part].mean(axis=0) for part in parts])
    if places[0, 2] <= places[1, 2]:
        return seeds, owner
    others = np.delete(np.arange(len(seeds)), of_pair)
    number = np.full(len(seeds) + 1, -1)
    number[others] = np.arange(len(others)) + len(pair)
    owner = number[owner]
    away = np.linalg.norm(bone.places_mm[cells][:, None] - places, axis=2)
    owner[cells] = away.argmin(axis=1)
    for index, part in enumerate(parts):
        owner[part] = index
    told_apart = Seeds(
        np.vstack([places, seeds.places_mm[others]]),
        np.concatenate([STEPS[pair], seeds.steps_mm[others]]),
    )
    return renumbered(told_apart, owner)


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
    return renumbered(Seeds(np.array(places), np.array(steps)), owner)


def in_one_piece(bone: Bone, seeds: Seeds, owner: np.ndarray) -> np.ndarray:
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
