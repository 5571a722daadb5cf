"""A network's label map of a whole scan, in memory that does not grow with its length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cc3d
import numpy as np
from scipy import ndimage

from vertseg.grid import AIR, GridTransform, grid_shape, without_unannotated
from vertseg.labels import BACKGROUND, RANK
from vertseg.predict.models import Model
from vertseg.volumes import Volume, labels_present

CHUNK_CELLS = 4_000_000
"""Cells that the network sees at a time: about 1.5 GB of activations."""

CONTEXT_CELLS = 36
"""Cells of another chunk that the network sees beyond each cut across the patient."""

BODY = -0.75
"""What is brighter in a normalised image (-260 HU) is the patient, but for lung and other air."""

MARGIN_CELLS = 4
"""Cells around the patient that the network sees."""

LEAST_ML = 1.5
"""What is smaller is no vertebra, not even a cut one worth showing."""

TOLD_SHARE = 0.05
"""Pieces smaller than this part of their label's largest are not told of."""

SPINE_GAP_MM = 40.0
"""Vertebrae further than this from all others of the spine are none."""
_COARSE_CELLS = 2

_IMPOSSIBLE = -1000.0
"""Logit of a label that was taken from a cell."""

_Box = tuple[slice, slice, slice]
_WHOLE: _Box = (slice(None), slice(None), slice(None))

SURE = 0.6
"""Mean softmax that at least one vertebra of a spine must reach."""


@dataclass(frozen=True)
class Piece:
    """A part of a label that was taken from it, apart from the label's largest piece.

    Attributes:
        label: VerSe's value.
        volume_ml: of the piece.
        share: its volume over that of the largest piece.
        distance_mm: between the two pieces' centres of mass.
    """

    label: int
    volume_ml: float
    share: float
    distance_mm: float


@dataclass(frozen=True)
class Segmentation:
    """What a network says of a scan.

    Attributes:
        mask: label map (x, y, z) uint8 in the scan's canonical native space.
        confidence: mean softmax of a label within its cells, by label.
        pieces: parts of labels that were taken from them.
        dismissed: mean softmax of labels that were left out, since they lie apart from the spine or
            the network was sure of no vertebra in the scan.
    """

    mask: np.ndarray
    confidence: dict[int, float]
    pieces: tuple[Piece, ...] = ()
    dismissed: dict[int, float] = field(default_factory=dict)


def segment(model: Model, ct: Volume) -> Segmentation:
    """Label every vertebra of a scan.

    A vertebra is one piece: cells of a label outside its largest piece go to their next best
    label, as do labels that are too small for a vertebra. A patient has one spine: what lies apart
    from it becomes background, as does all of it if the network is sure of no vertebra.

    Args:
        model: the network.
        ct: HU, canonical axes.
    """
    transform = GridTransform(grid_shape(model.trained["settings"]["grid"], ct.native), ct.native)
    image = transform.encode_image(ct.array)
    logits, label_map = predict_grid(model, image)
    cell_mm = np.array(ct.array.shape) * ct.spacing_mm / label_map.shape
    pieces = keep_largest_pieces(logits, label_map, cell_mm)
    confidence = mean_softmax(logits, label_map)
    kept = set(labels_of_spine(label_map, cell_mm))
    if max((confidence[label] for label in kept), default=0) < SURE:
        kept = set()
    dismissed = confidence.keys() - kept
    outside = np.isin(label_map, list(dismissed))
    logits[1:, outside] = _IMPOSSIBLE
    label_map[outside] = BACKGROUND
    return Segmentation(
        transform.decode_logits(logits, label_map),
        {label: value for label, value in confidence.items() if label in kept},
        pieces,
        {label: value for label, value in confidence.items() if label in dismissed},
    )


def predict_grid(model: Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over the patient in an image (X, Y, Z), in chunks along z where it is large.

    Returns:
        Logits (C, X, Y, Z) float32 and their largest label (X, Y, Z) uint8. Around the patient all
        logits are 0, as is the label map.
    """
    # Pages of zeros that nobody writes to take no memory.
    logits = np.zeros((model.trained["num_classes"], *image.shape), np.float32)
    label_map = np.zeros(image.shape, np.uint8)
    smallest = model.crop or (1, 1, 1)
    box = patient_box(image, smallest) if model.crop else _WHOLE
    patient = image[box]
    missing = [max(n - size, 0) for n, size in zip(smallest, patient.shape, strict=True)]
    padded = np.pad(patient, [(0, n) for n in missing], constant_values=AIR).astype(np.float32)
    x, y, z = patient.shape
    for seen, kept in _chunks(padded.shape, z, max(smallest[2], 4), model.crop is not None):
        chunk = model.forward(np.ascontiguousarray(padded[None, None, :, :, seen]))
        own = slice(kept.start - seen.start, kept.stop - seen.start)
        scores = without_unannotated(chunk[:, :x, :y, own])
        logits[(slice(None), *box)][..., kept] = scores
        label_map[box][..., kept] = _largest(scores)
    return logits, label_map


def patient_box(image: np.ndarray, smallest: Sequence[int]) -> _Box:
    """The largest thing in a normalised image (X, Y, Z) that is not air, and a margin around it.

    Args:
        image: values in [-1, 1].
        smallest: cells that the box has at least along each axis, where the image has them.
    """
    coarse = image[::_COARSE_CELLS, ::_COARSE_CELLS, ::_COARSE_CELLS]
    parts, count = ndimage.label(coarse > BODY)
    if not count:
        return _WHOLE
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    box = []
    for found, least, n in zip(
        ndimage.find_objects(parts)[largest], smallest, image.shape, strict=True
    ):
        start, stop = (_COARSE_CELLS * edge for edge in (found.start, found.stop))
        margin = max(MARGIN_CELLS, -((stop - start - least) // 2))
        start = max(min(start - margin, n - least), 0)
        box.append(slice(start, min(max(stop + margin, start + least), n)))
    return box[0], box[1], box[2]


def _largest(logits: np.ndarray) -> np.ndarray:
    """The label (X, Y, Z) uint8 of the largest logit (C, X, Y, Z), the first of equal ones."""
    best = logits[0].copy()
    label_map = np.zeros(best.shape, np.uint8)
    for label, channel in enumerate(logits[1:], start=1):
        label_map[channel > best] = label
        np.maximum(best, channel, out=best)
    return label_map


def mean_softmax(logits: np.ndarray, label_map: np.ndarray) -> dict[int, float]:
    """By label that occurs, cranial first, its mean softmax within its cells.

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
    """Leave each label its largest piece, if that is large enough; both arrays are changed.

    Args:
        logits: (C, X, Y, Z).
        label_map: their largest (X, Y, Z).
        cell_mm: size of a cell.

    Returns:
        The pieces worth telling of apart from their label's largest one.
    """
    found: list[Piece] = []
    # The next best labels of stray cells may leave strays of their own.
    while True:
        parts = cc3d.connected_components(label_map, connectivity=6)
        pieces, is_stray = _strays(parts, label_map, cell_mm)
        stray = is_stray[parts]
        if not stray.any():
            return tuple(found)
        found += pieces
        logits[label_map[stray], *np.nonzero(stray)] = _IMPOSSIBLE
        label_map[stray] = logits[:, stray].argmax(axis=0)


def labels_of_spine(label_map: np.ndarray, cell_mm: np.ndarray) -> list[int]:
    """Labels of the largest group of vertebrae with no gap wider than `SPINE_GAP_MM` in it.

    Args:
        label_map: (X, Y, Z), each label one piece.
        cell_mm: size of a cell.
    """
    labels = np.array(labels_present(label_map))
    if not len(labels):
        return []
    coarse = label_map[::_COARSE_CELLS, ::_COARSE_CELLS, ::_COARSE_CELLS]
    to_nearest_mm = ndimage.distance_transform_edt(coarse == 0, sampling=cell_mm * _COARSE_CELLS)
    groups, _ = ndimage.label(to_nearest_mm <= SPINE_GAP_MM / 2)
    group_of = ndimage.maximum(groups, coarse, labels).astype(int)
    sizes = np.bincount(group_of, np.bincount(label_map.ravel(), minlength=256)[labels])
    return labels[group_of == sizes.argmax()].tolist()


def _strays(
    parts: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[list[Piece], np.ndarray]:
    """Which of the connected parts (X, Y, Z) of a label map are not vertebrae.

    Returns:
        The parts worth telling of beside a label's largest, and for each part (numbered from 1)
        whether it has to go: it is not its label's largest, or that is too small.
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
        if sizes[main] * cell_ml >= LEAST_ML:
            is_stray[main] = False
            beside += [(p, main) for p in own[sizes[own] >= TOLD_SHARE * sizes[main]] if p != main]
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


def _chunks(
    shape: tuple[int, ...], length: int, shortest: int, divisible: bool
) -> Iterator[tuple[slice, slice]]:
    """What the network sees along z, a multiple of 4 cells in, and what is kept of it."""
    per_slice = shape[0] * shape[1]
    most = max(CHUNK_CELLS // per_slice, shortest + 2 * CONTEXT_CELLS + 4)
    if not divisible or shape[2] <= most:
        yield slice(0, shape[2]), slice(0, length)
        return
    step = (most - 2 * CONTEXT_CELLS) // 4 * 4
    for start in range(0, length, step):
        stop = min(start + step, length)
        first = max(min(start - CONTEXT_CELLS, shape[2] - shortest) // 4 * 4, 0)
        yield slice(first, min(stop + CONTEXT_CELLS, shape[2])), slice(start, stop)
