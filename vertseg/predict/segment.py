"""A network's label map of a whole scan, in memory that does not grow with its length."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from vertseg.grid import AIR, GridTransform, without_unannotated
from vertseg.order import put_in_order
from vertseg.predict.models import Model
from vertseg.spine import Spine, mean_softmax, one_spine
from vertseg.volumes import Volume

CHUNK_CELLS = 4_000_000
"""Cells that the network sees at a time: about 1.5 GB of activations."""

CONTEXT_CELLS = 36
"""Cells of another chunk that the network sees beyond each cut across the patient."""

BODY = -0.75
"""What is brighter in a normalised image (-260 HU) is the patient, but for lung and other air."""

MARGIN_CELLS = 4
"""Cells around the patient that the network sees."""

STRIP_CROPS = 1.6
"""Width of the strip about the patient's middle that is looked at first, in crops of training."""

CUT_CELLS = 4
"""A vertebra so near to a side of the strip may go on beyond it."""

_COARSE_CELLS = 2

Box = tuple[slice, slice, slice]


def segment(model: Model, ct: Volume, in_order: bool = True) -> tuple[np.ndarray, Spine]:
    """Label every vertebra of a scan.

    A network that learned from crops sees the middle of the patient first, which is wider than any
    of them. The whole width follows only if there is no spine, or one that reaches a side of it.

    Args:
        model: the network.
        ct: HU, canonical axes.
        in_order: give the vertebrae their most probable order (docs/decoding.md).

    Returns:
        The label map (x, y, z) uint8 in the scan's canonical native space, and what was found.
    """
    transform = GridTransform.onto(model.trained["settings"]["grid"], ct.native)
    image = transform.encode_image(ct.array)
    for box in boxes_to_see(image, model.crop):
        logits, label_map = predict_box(model, image, box)
        spine = one_spine(logits, label_map, transform.cell_mm)
        if spine.confidence and is_inside(label_map, box):
            break
    if in_order and (changes := put_in_order(logits, label_map, transform.cell_mm)):
        confidence = mean_softmax(logits, label_map)
        spine = replace(spine, confidence=confidence, changes=changes)
    return transform.decode_logits(logits, label_map), spine


def boxes_to_see(image: np.ndarray, crop: Sequence[int] | None) -> list[Box]:
    """Boxes of an image (X, Y, Z) for a network to see, until it has found all of a spine.

    Args:
        image: normalised.
        crop: cells (X, Y, Z) of the crops that the network learned from, if it did.
    """
    if crop is None:
        return [_whole(image)]
    patient = patient_box(image, crop)
    x, y, z = patient
    width = 4 * round(STRIP_CROPS * crop[0] / 4)
    beyond = x.stop - x.start - width
    if beyond <= 0:
        return [patient]
    start = x.start + beyond // 2
    return [(slice(start, start + width), y, z), patient]


def predict_box(model: Model, image: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over a box of an image (X, Y, Z), in chunks along z where it is large.

    Returns:
        Logits (C, X, Y, Z) float32 and their largest label (X, Y, Z) uint8. Around the box all
        logits are 0, as is the label map.
    """
    # Pages of zeros that nobody writes to take no memory.
    logits = np.zeros((model.trained["num_classes"], *image.shape), np.float32)
    label_map = np.zeros(image.shape, np.uint8)
    smallest = model.crop or (1, 1, 1)
    part = image[box]
    missing = [max(n - size, 0) for n, size in zip(smallest, part.shape, strict=True)]
    padded = np.pad(part, [(0, n) for n in missing], constant_values=AIR).astype(np.float32)
    x, y, z = part.shape
    for seen, kept in _chunks(padded.shape, z, max(smallest[2], 4), model.crop is not None):
        chunk = model.forward(np.ascontiguousarray(padded[None, None, :, :, seen]))
        own = slice(kept.start - seen.start, kept.stop - seen.start)
        scores = without_unannotated(chunk[:, :x, :y, own])
        logits[(slice(None), *box)][..., kept] = scores
        label_map[box][..., kept] = _largest(scores)
    return logits, label_map


def is_inside(label_map: np.ndarray, box: Box) -> bool:
    """Whether no label of a map (X, Y, Z) comes near the left or right side of a box."""
    sides = label_map[box[0]][[*range(CUT_CELLS), *range(-CUT_CELLS, 0)]]
    return not sides.any()


def _whole(image: np.ndarray) -> Box:
    x, y, z = (slice(0, n) for n in image.shape)
    return x, y, z


def patient_box(image: np.ndarray, smallest: Sequence[int]) -> Box:
    """The largest thing in a normalised image (X, Y, Z) that is not air, and a margin around it.

    Args:
        image: values in [-1, 1].
        smallest: cells that the box has at least along each axis, where the image has them.
    """
    coarse = image[::_COARSE_CELLS, ::_COARSE_CELLS, ::_COARSE_CELLS]
    parts, count = ndimage.label(coarse > BODY)
    if not count:
        return _whole(image)
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
