"""A network's label map of a whole scan, in memory that does not grow with its length."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from vertseg.grid import AIR, GridTransform, grid_shape, without_unannotated
from vertseg.labels import BACKGROUND, RANK
from vertseg.predict.models import Model
from vertseg.volumes import Volume, labels_present

CHUNK_CELLS = 5_000_000
"""Cells that the network sees at a time: about 1.5 GB of activations."""

CONTEXT_CELLS = 36
"""Cells of another chunk that the network sees beyond each cut across the patient."""

LEAST_ML = 1.5
"""What is smaller is no vertebra, not even a cut one worth showing."""

SPINE_GAP_MM = 40.0
"""Vertebrae further than this from all others of the spine are none."""
_COARSE_CELLS = 2

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
    logits, label_map, probability = predict_grid(model, transform.encode_image(ct.array))
    cell_mm = np.array(ct.array.shape) * ct.spacing_mm / label_map.shape
    pieces = keep_largest_pieces(logits, label_map, cell_mm)
    confidence = {
        label: round(float(probability[label_map == label].mean(dtype=np.float32)), 3)
        for label in sorted(labels_present(label_map), key=RANK.__getitem__)
    }
    kept = set(labels_of_spine(label_map, cell_mm))
    if max((confidence[label] for label in kept), default=0) < SURE:
        kept = set()
    dismissed = confidence.keys() - kept
    outside = np.isin(label_map, list(dismissed))
    logits[1:, outside] = logits.min()
    label_map[outside] = BACKGROUND
    return Segmentation(
        transform.decode_logits(logits, label_map),
        {label: value for label, value in confidence.items() if label in kept},
        pieces,
        {label: value for label, value in confidence.items() if label in dismissed},
    )


def predict_grid(model: Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the network over an image (X, Y, Z), in chunks along z where it is large.

    Returns:
        Logits (C, X, Y, Z) float16, their label map (X, Y, Z) uint8, and the largest softmax
        probability (X, Y, Z) float16.
    """
    smallest = model.crop or (1, 1, 1)
    missing = [max(n - size, 0) for n, size in zip(smallest, image.shape, strict=True)]
    padded = np.pad(image, [(0, n) for n in missing], constant_values=AIR).astype(np.float32)
    x, y, z = image.shape
    logits = np.empty((model.trained["num_classes"], x, y, z), np.float16)
    label_map = np.empty((x, y, z), np.uint8)
    probability = np.empty((x, y, z), np.float16)
    for seen, kept in _chunks(padded.shape, z, max(smallest[2], 4), model.crop is not None):
        chunk = model.forward(np.ascontiguousarray(padded[None, None, :, :, seen]))
        own = slice(kept.start - seen.start, kept.stop - seen.start)
        scores = without_unannotated(chunk[:, :x, :y, own])
        logits[..., kept] = scores
        best = scores.argmax(axis=0)
        label_map[..., kept] = best
        scores -= np.take_along_axis(scores, best[None], axis=0)
        probability[..., kept] = 1 / np.exp(scores, out=scores).sum(axis=0)
    return logits, label_map, probability


def keep_largest_pieces(
    logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray
) -> tuple[Piece, ...]:
    """Leave each label its largest piece, if that is large enough; both arrays are changed.

    Args:
        logits: (C, X, Y, Z).
        label_map: their largest (X, Y, Z).
        cell_mm: size of a cell.

    Returns:
        The pieces apart from their label's largest one.
    """
    lost = logits.min()
    found: list[Piece] = []
    again = True
    while again:
        again = False
        for label, box in enumerate(ndimage.find_objects(label_map), start=1):
            if box is None:
                continue
            stray, pieces = _strays(label_map[box] == label, label, cell_mm)
            found += pieces
            if stray.any():
                # The next best label of these cells may leave strays of its own.
                again = True
                logits[label][box][stray] = lost
                label_map[box][stray] = logits[(slice(None), *box)][:, stray].argmax(axis=0)
    return tuple(found)


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


def _strays(cells: np.ndarray, label: int, cell_mm: np.ndarray) -> tuple[np.ndarray, list[Piece]]:
    """Cells (X, Y, Z) that are not of a label's largest piece, or all if that is too small."""
    parts, count = ndimage.label(cells)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    cell_ml = float(np.prod(cell_mm)) / 1000
    if sizes.max(initial=0) * cell_ml < LEAST_ML:
        return cells, []
    main = int(sizes.argmax())
    centres = np.array(ndimage.center_of_mass(cells, parts, range(1, count + 1)))
    apart_mm = np.linalg.norm((centres - centres[main]) * cell_mm, axis=1)
    pieces = [
        Piece(
            label,
            volume_ml=round(float(sizes[index]) * cell_ml, 2),
            share=round(float(sizes[index] / sizes[main]), 3),
            distance_mm=round(float(apart_mm[index]), 1),
        )
        for index in range(count)
        if index != main
    ]
    return cells & (parts != main + 1), pieces


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
