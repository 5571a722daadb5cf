"""One name for each instance, from its cells' classes and the order of the spine."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from vertseg.anatomy.label_maps import grown_labels
from vertseg.anatomy.labels import BACKGROUND, NAMES, RANK, SACRUM
from vertseg.segmentation.bone import MARGIN_CELLS, Bone, Seeds, find_bone
from vertseg.segmentation.borders import by_votes_and_names
from vertseg.segmentation.dividing import divided
from vertseg.segmentation.evidence import CAUTIOUS_MODEL, MODEL, Evidence, evidence_of
from vertseg.segmentation.instances import (
    find_instances,
    votes_of,
)
from vertseg.segmentation.numbering import (
    most_probable_levels,
    number_levels,
)
from vertseg.segmentation.pieces import (
    IMPOSSIBLE,
    Certainty,
    Change,
    Reading,
    Spine,
    groups_of,
)
from vertseg.segmentation.trust import trusted

LEAST_RESOLVED = 0.3
"""Smallest share of bone, in the reach of seeds, with votes near one of them, at which instances
are trusted."""

SURE_BONE = 0.78
"""Smallest mean probability that a spine's cells are of any vertebra, whichever."""

CONTRAST = 1.0
"""Advantage of an instance's own label over its neighbours' labels, as a logit."""

BESIDE_ML = 60.0
"""Smallest volume of bone of no vertebra that may be a second spine's: about that of a vertebra."""

BESIDE_SHARE = 0.3
"""Smallest share of the spine's volume for the same.

Two phantoms side by side had 1.0 and more, nine real scans and single phantoms 0.2 at most.
"""


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
    seeds, owner, kept = divided(bone, seeds, owner, groups, scores, sacrum_logits)
    evidence = evidence_of(bone, seeds, owner, kept, scores, sacrum_logits)
    names, by_order = _names(len(seeds), kept, evidence)
    votes = votes_of(bone, parts["offsets"]) if "offsets" in parts else None
    if votes is not None:
        owner = by_votes_and_names(bone, seeds, owner, votes, names, scores)
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
