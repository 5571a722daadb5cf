"""Vertebrae as single pieces of one spine, as in every patient."""

from dataclasses import dataclass, field, replace

import cc3d
import numpy as np
from scipy import ndimage

from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, RANK

SMALLEST_ML = 1.5
"""Smallest volume of a vertebra, cut ones included."""

REPORTED_SHARE = 0.05
"""Smallest share of a label's largest piece that is reported."""

SPINE_GAP_MM = 40.0
"""Widest gap between neighbouring vertebrae of one spine."""

SURE = 0.6
"""Smallest mean softmax of the surest vertebra of a spine."""

_COARSE_CELLS = 2
_COARSELY = (slice(None, None, _COARSE_CELLS),) * 3

IMPOSSIBLE = -1000.0
"""Logit of a label that was taken from a cell."""


@dataclass(frozen=True)
class Piece:
    """A part of a label that was taken from it, apart from the label's largest piece.

    Attributes:
        label: VerSe's value.
        volume_ml: volume of the piece.
        share: its volume over that of the largest piece.
        distance_mm: between the two pieces' centres of mass.
    """

    label: int
    volume_ml: float
    share: float
    distance_mm: float


@dataclass(frozen=True)
class Change:
    """A vertebra whose label was changed for the order of labels along the spine.

    Attributes:
        before: the network's label.
        after: the new label; 0 for none.
        volume_ml: volume of the vertebra.
    """

    before: int
    after: int
    volume_ml: float


@dataclass(frozen=True)
class Certainty:
    """How probable the levels of a spine's vertebrae are, given their order.

    Attributes:
        right: probability that a vertebra has its level, by label.
        all_right: probability that all of them have.
        shifted: probability that all lie one level higher (-1) or lower (1) than labelled.
        variants: probability of each enumeration variant.
    """

    right: dict[int, float]
    all_right: float
    shifted: dict[int, float]
    variants: dict[str, float]


@dataclass(frozen=True)
class Reading:
    """What a network says of a vertebra, whatever its name.

    Attributes:
        votes: median distance of its cells' votes for their body's centre from its own, in expected
            distances to the neighbours; None where the network has no votes.
        bone: mean probability that its cells are of any vertebra.
        classes: largest mean probability of one class among its cells.
    """

    votes: float | None
    bone: float
    classes: float


@dataclass(frozen=True)
class Spine:
    """Vertebrae found in a scan, and changes to the network's labels.

    Attributes:
        confidence: mean softmax of a label within its cells, by label, cranial first.
        pieces: parts that were taken from their labels.
        dismissed: mean softmax of labels that were removed, because they lie apart from the spine
            or because the network was not sure of any vertebra in the scan.
        cell_mm: longest side of the network's cells.
        changes: vertebrae whose labels were changed for their order.
        unlike_spine: reason for which all labels were removed as not those of a spine, if so.
        certainty: probability of the labels' levels, if their order was looked at.
        by_order: the same by the order of labels alone, where vertebrae were told apart first.
        readings: what the network says of each vertebra, by label, where vertebrae were told apart
            before they were named; else empty.
        resolved: share of bone that belongs to a vertebra told apart before it was named; 0 where
            that was no good, so that labels were put in order instead; None for other decodings.
        beside_ml: volume of bone beside vertebrae that were told apart, if it is as large as that
            of a second spine; else 0.
    """

    confidence: dict[int, float]
    pieces: tuple[Piece, ...] = ()
    dismissed: dict[int, float] = field(default_factory=dict)
    cell_mm: float = 0
    changes: tuple[Change, ...] = ()
    unlike_spine: str | None = None
    certainty: Certainty | None = None
    by_order: Certainty | None = None
    resolved: float | None = None
    readings: dict[int, Reading] = field(default_factory=dict)
    beside_ml: float = 0.0

    @property
    def outline_confidence(self) -> dict[int, float]:
        """How sure the network is that a label's cells are a vertebra's, by label."""
        return {label: one.bone for label, one in self.readings.items()} or self.confidence


def one_spine(logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray) -> Spine:
    """Make a network's labels those of one spine; both arrays are changed.

    A vertebra is one piece: cells of a label outside its largest piece go to their next best
    label, as do labels that are too small for a vertebra. A patient has one spine: labels apart
    from it become background, as do all labels if the network is not sure of any vertebra.

    Args:
        logits: (C, X, Y, Z) floating.
        label_map: labels (X, Y, Z) uint8 of the largest logits.
        cell_mm: size of a cell along x, y and z.
    """
    pieces = keep_largest_pieces(logits, label_map, cell_mm)
    confidence = mean_softmax(logits, label_map)
    kept = set(labels_of_spine(label_map, cell_mm))
    if max((confidence[label] for label in kept), default=0) < SURE:
        kept = set()
    dismissed = confidence.keys() - kept
    outside = np.isin(label_map, list(dismissed))
    logits[1:, outside] = IMPOSSIBLE
    label_map[outside] = BACKGROUND
    return Spine(
        {label: value for label, value in confidence.items() if label in kept},
        pieces,
        {label: value for label, value in confidence.items() if label in dismissed},
        float(np.max(cell_mm)),
    )


def dismiss(spine: Spine, reason: str, logits: np.ndarray, label_map: np.ndarray) -> Spine:
    """The spine without any vertebra; both arrays are changed.

    Args:
        spine: the vertebrae found.
        reason: why they are not those of a spine.
        logits: (C, X, Y, Z).
        label_map: (X, Y, Z).
    """
    logits[1:, label_map != BACKGROUND] = IMPOSSIBLE
    label_map[...] = BACKGROUND
    return replace(
        spine,
        confidence={},
        dismissed=spine.dismissed | spine.confidence,
        unlike_spine=reason,
        certainty=None,
        by_order=None,
        readings={},
    )


def mean_softmax(logits: np.ndarray, label_map: np.ndarray) -> dict[int, float]:
    """Mean softmax of each label of a map within its cells, cranial first.

    Args:
        logits: (C, X, Y, Z).
        label_map: (X, Y, Z).
    """
    spine = label_map != BACKGROUND
    labels, scores = label_map[spine], logits[:, spine]
    scores -= np.take_along_axis(scores, labels[None].astype(int), axis=0)
    probability = 1 / np.exp(scores).sum(axis=0)
    return {
        label: round(float(probability[labels == label].mean()), 3)
        for label in sorted(labels_present(labels), key=RANK.__getitem__)
    }


def keep_largest_pieces(
    logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[Piece, ...]:
    """Reduce each label to its largest piece, if that is large enough; both arrays are changed.

    Args:
        logits: (C, X, Y, Z).
        label_map: labels (X, Y, Z) of the largest logits.
        cell_mm: size of a cell along x, y and z.

    Returns:
        Pieces taken from their labels, of at least `REPORTED_SHARE` of the label's largest piece.
    """
    found: list[Piece] = []
    # The next best labels of stray cells may form new stray pieces.
    while True:
        parts = cc3d.connected_components(label_map, connectivity=6)
        pieces, is_stray = _strays(parts, label_map, cell_mm)
        stray = is_stray[parts]
        if not stray.any():
            return tuple(found)
        found += pieces
        logits[label_map[stray], *np.nonzero(stray)] = IMPOSSIBLE
        label_map[stray] = logits[:, stray].argmax(axis=0)


def labels_of_spine(
    label_map: np.ndarray, cell_mm: np.ndarray, groups: np.ndarray | None = None
) -> list[int]:
    """Labels of the largest group of vertebrae without a gap wider than `SPINE_GAP_MM`.

    Args:
        label_map: (X, Y, Z), each label one piece.
        cell_mm: size of a cell along x, y and z.
        groups: `groups_of` the label map, if they are known.
    """
    labels = np.array(labels_present(label_map))
    if not len(labels):
        return []
    if groups is None:
        groups = groups_of(label_map, cell_mm)
    group_of = ndimage.maximum(groups, label_map[_COARSELY], labels).astype(int)
    cells_of = np.bincount(label_map.ravel(), minlength=256)[labels]
    cells_of_group = np.bincount(group_of, cells_of)
    return labels[group_of == cells_of_group.argmax()].tolist()


def groups_of(label_map: np.ndarray, cell_mm: np.ndarray) -> np.ndarray:
    """Numbers of groups of vertebrae, of every second cell along each axis of a label map.

    They depend on where there are labels, not on which.
    """
    to_nearest_mm = ndimage.distance_transform_edt(
        label_map[_COARSELY] == BACKGROUND, sampling=cell_mm * _COARSE_CELLS
    )
    # Two vertebrae belong together where the halves of the gap between them meet.
    return ndimage.label(to_nearest_mm <= SPINE_GAP_MM / 2)[0]


def _strays(
    parts: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[list[Piece], np.ndarray]:
    """Connected parts of a label map that are not vertebrae.

    A part is a stray if it is not the largest part of its label, or if that is too small.

    Args:
        parts: number of each cell's part (X, Y, Z), from 1.
        label_map: (X, Y, Z).
        cell_mm: size of a cell along x, y and z.

    Returns:
        The reported pieces, and for each number of a part whether the part is a stray.
    """
    sizes = np.bincount(parts.ravel())
    label_of = np.zeros(len(sizes), np.uint8)
    label_of[parts] = label_map
    cell_ml = float(np.prod(cell_mm)) / 1000
    is_stray = label_of != BACKGROUND
    beside = []
    for label in labels_present(label_of):
        own = np.flatnonzero(label_of == label)
        main = own[sizes[own].argmax()]
        if sizes[main] * cell_ml >= SMALLEST_ML:
            is_stray[main] = False
            beside += [
                (p, main) for p in own[sizes[own] >= REPORTED_SHARE * sizes[main]] if p != main
            ]
    centres_mm = cc3d.statistics(parts)["centroids"] * cell_mm if beside else ()
    pieces = [
        Piece(
            int(label_of[part]),
            volume_ml=round(float(sizes[part]) * cell_ml, 2),
            share=round(float(sizes[part] / sizes[main]), 3),
            distance_mm=round(float(np.linalg.norm(centres_mm[part] - centres_mm[main])), 1),
        )
        for part, main in beside
    ]
    return pieces, is_stray
