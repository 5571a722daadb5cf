"""The way from a scan to its label map: the network's view of it, and the decoding of its logits.

Cross-validation, external tests, `vertseg predict` and all studies take this way. The network's
memory does not grow with a scan's length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, SACRUM, UNANNOTATED
from vertseg.networks import FEATURE_STRIDE
from vertseg.networks.metadata import auxiliary_slices
from vertseg.scans.volumes import Volume
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.grid import AIR, GridTransform
from vertseg.segmentation.likeness import why_no_spine
from vertseg.segmentation.model import Model
from vertseg.segmentation.naming import name_instances
from vertseg.segmentation.numbering import put_in_order
from vertseg.segmentation.outlines import outlines_of_ct
from vertseg.segmentation.pieces import IMPOSSIBLE, Spine, dismiss, mean_softmax, one_spine
from vertseg.segmentation.settings import Decoding, Outlines

CHUNK_CELLS = 4_000_000
"""Cells that the network sees at a time: about 1.5 GB of activations."""

CONTEXT_CELLS = 36
"""Cells of another chunk that the network sees beyond each cut across the patient."""

PATIENT = -0.75
"""Lower limit of the patient's gray values in a normalised image (-260 HU)."""

MARGIN_CELLS = 4
"""Margin around the patient in the network's view."""

STRIP_CROPS = 1.6
"""Width, in training crops, of the strip about the patient's middle that the network sees first."""

CUT_CELLS = 4
"""Distance from a side of the strip within which a vertebra may continue beyond it."""

_COARSE_CELLS = 2


@dataclass(frozen=True)
class Segmentation:
    """Label maps of a scan.

    Attributes:
        on_grid: labels of the network's cells (X, Y, Z) uint8.
        mask: labels of the scan's voxels (x, y, z) uint8, canonical axes.
        spine: the vertebrae found, and the decoding's changes.
        kept_outlines: vertebrae that keep the network's outlines, with reasons, though the CT's
            were asked for; None if the network's were.
    """

    on_grid: np.ndarray
    mask: np.ndarray
    spine: Spine
    kept_outlines: dict[int, str] | None = None


def segment_ct(
    model: Model,
    ct: Volume,
    decoding: Decoding,
    outlines: Outlines = "network",
    threads: int = 1,
) -> Segmentation:
    """Label every vertebra of a CT.

    Args:
        model: the network.
        ct: HU, canonical axes.
        decoding: way from logits to labels.
        outlines: where outlines come from.
        threads: number of threads besides those of the network, which has its own.
    """
    transform = GridTransform.onto(model.trained["settings"]["grid"], ct.native)
    segmented = segment(model, transform.encode_image(ct.array, threads), transform, decoding)
    return outlined(segmented, ct, threads) if outlines == "ct" else segmented


def outlined(segmented: Segmentation, ct: Volume, threads: int = 1) -> Segmentation:
    """The same segmentation with outlines drawn where the CT shows them, in the same mask."""
    found = outlines_of_ct(ct.array, segmented.mask, ct.spacing_mm, threads)
    segmented.mask[found.box.slices] = found.mask
    return replace(segmented, kept_outlines=found.kept)


def segment(
    model: Model, image: np.ndarray, transform: GridTransform, decoding: Decoding
) -> Segmentation:
    """Label every vertebra of a scan that lies on the network's grid.

    A network trained on crops first sees a strip in the middle of the patient, wider than a crop.
    It sees the whole width only if that strip shows no spine, or one that reaches its side.

    Args:
        model: the network.
        image: normalised (X, Y, Z).
        transform: the map between the scan's voxels and the grid.
        decoding: way from logits to labels.
    """
    for box in boxes_to_see(image, model.crop):
        # Those of the box before would stay in memory until then.
        outputs = np.zeros(0)
        outputs, seen = predict_box(model, image, box)
        label_map = np.zeros(image.shape, np.uint8)
        label_map[box.slices] = seen
        spine = _found(model, outputs, label_map, image, box, transform.cell_mm, decoding)
        if spine.confidence and is_inside(label_map, box):
            break
    logits, seen = outputs[: model.trained["num_classes"]], label_map[box.slices]
    if decoding == "order" or (decoding == "instances" and not spine.resolved):
        changes, certainty = put_in_order(logits, seen, transform.cell_mm)
        confidence = mean_softmax(logits, seen) if changes else spine.confidence
        spine = replace(spine, confidence=confidence, changes=changes, certainty=certainty)
    return Segmentation(label_map, decode_logits(logits, seen, transform, box), spine)


def boxes_to_see(image: np.ndarray, crop: Sequence[int] | None) -> list[Box]:
    """Boxes of an image for a network to see, in this order, until it has found all of a spine.

    Args:
        image: normalised (X, Y, Z).
        crop: cells (X, Y, Z) of the training crops, or None.
    """
    if crop is None:
        return [Box.whole(image.shape)]
    patient = patient_box(image, crop)
    width = FEATURE_STRIDE * round(STRIP_CROPS * crop[0] / FEATURE_STRIDE)
    beyond = patient.shape[0] - width
    if beyond <= 0:
        return [patient]
    start = patient.start[0] + beyond // 2
    strip = Box((start, *patient.start[1:]), (start + width, *patient.stop[1:]))
    return [strip, patient]


def predict_box(model: Model, image: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over a box of an image (X, Y, Z), in chunks along z if it is large.

    A box smaller than the training crops is surrounded by air, as in training.

    The sacrum is background, whose logits hold its share; a network that has learned it keeps its
    own logits too.

    Returns:
        Outputs (channels, X, Y, Z) float32 of the box's cells, of which the classes' logits come
        first, and the labels (X, Y, Z) uint8 of the largest logits.
    """
    smallest = model.crop or (1, 1, 1)
    missing = [max(n - size, 0) for n, size in zip(smallest, box.shape, strict=True)]
    padding = [(0, n) for n in missing]
    padded = np.pad(image[box.slices], padding, constant_values=AIR).astype(np.float32)
    x, y, z = box.shape
    shortest = max(smallest[2], FEATURE_STRIDE)
    chunks = list(_chunks(padded.shape, z, shortest, model.crop is not None))
    label_map = np.empty(box.shape, np.uint8)
    outputs: np.ndarray | None = None
    for seen, kept in chunks:
        scores = model.forward(np.ascontiguousarray(padded[None, None, :, :, seen]))
        scores = scores[:, :x, :y, kept.start - seen.start : kept.stop - seen.start]
        label_map[..., kept] = _labelled(model, scores)
        if len(chunks) == 1:
            return scores, label_map
        if outputs is None:
            outputs = np.empty((model.channels, *box.shape), np.float32)
        outputs[..., kept] = scores
    assert outputs is not None
    return outputs, label_map


def _labelled(model: Model, scores: np.ndarray) -> np.ndarray:
    """Labels (X, Y, Z) uint8 of the largest scores (channels, X, Y, Z), which are tidied."""
    classes = model.trained["num_classes"]
    sacrum = None
    if model.trained.get("sacrum"):
        sacrum = scores[SACRUM].copy()
        np.logaddexp(scores[BACKGROUND], sacrum, out=scores[BACKGROUND])
    # An untrained network may prefer a class that is never annotated.
    scores[[label for label in UNANNOTATED if label < classes]] = IMPOSSIBLE
    label_map = _largest(scores[:classes])
    if sacrum is not None:
        scores[SACRUM] = sacrum
    return label_map


def is_inside(label_map: np.ndarray, box: Box) -> bool:
    """Whether no label of a map (X, Y, Z) comes near the left or right side of a box."""
    sides = label_map[box.slices[0]][[*range(CUT_CELLS), *range(-CUT_CELLS, 0)]]
    return not sides.any()


def patient_box(image: np.ndarray, smallest: Sequence[int]) -> Box:
    """Box of the largest connected object in an image that is not air, with a margin.

    Args:
        image: normalised (X, Y, Z).
        smallest: least number of cells of the box along each axis, if the image has as many.
    """
    coarse = image[::_COARSE_CELLS, ::_COARSE_CELLS, ::_COARSE_CELLS]
    parts, count = ndimage.label(coarse > PATIENT)
    if not count:
        return Box.whole(image.shape)
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    sides = []
    for found, least, n in zip(
        ndimage.find_objects(parts)[largest], smallest, image.shape, strict=True
    ):
        start, stop = (_COARSE_CELLS * edge for edge in (found.start, found.stop))
        margin = max(MARGIN_CELLS, -((stop - start - least) // 2))
        start = max(min(start - margin, n - least), 0)
        sides.append(slice(start, min(max(stop + margin, start + least), n)))
    return Box.of(sides)


def _found(
    model: Model,
    outputs: np.ndarray,
    label_map: np.ndarray,
    image: np.ndarray,
    box: Box,
    cell_mm: np.ndarray,
    decoding: Decoding,
) -> Spine:
    """The vertebrae found; outputs and labels are changed, unless the decoding is argmax.

    Outputs are those of the box's cells, labels and image those of the whole grid.
    """
    classes = model.trained["num_classes"]
    logits, seen = outputs[:classes], label_map[box.slices]
    if decoding == "argmax":
        return Spine(mean_softmax(logits, seen), cell_mm=float(np.max(cell_mm)))
    slices = auxiliary_slices(classes, model.trained.get("auxiliary", []))
    spine = None
    is_told_apart = decoding == "instances" and bool(slices)
    if is_told_apart:
        auxiliary = {name: outputs[part] for name, part in slices.items()}
        sacrum = bool(model.trained.get("sacrum"))
        spine = name_instances(logits, seen, auxiliary, cell_mm, sacrum)
    if spine is None:
        resolved = 0.0 if is_told_apart else None
        spine = replace(one_spine(logits, seen, cell_mm), resolved=resolved)
    if spine.confidence and (reason := why_no_spine(image, label_map, cell_mm)):
        return dismiss(spine, reason, logits, seen)
    return spine


def _largest(logits: np.ndarray) -> np.ndarray:
    """Label (X, Y, Z) uint8 of each cell's largest logit (C, X, Y, Z), the first of equal ones."""
    best = logits[0].copy()
    label_map = np.zeros(best.shape, np.uint8)
    for label, channel in enumerate(logits[1:], start=1):
        label_map[channel > best] = label
        np.maximum(best, channel, out=best)
    return label_map


def _chunks(
    shape: tuple[int, ...], length: int, shortest: int, divisible: bool
) -> Iterator[tuple[slice, slice]]:
    """Pairs of slices along z: a part that the network sees, and the part of it that is kept.

    Args:
        shape: cells (X, Y, Z) of the padded image.
        length: cells along z before padding.
        shortest: least number of cells that the network sees along z.
        divisible: allow chunks, which start at multiples of `FEATURE_STRIDE`, as voxels of the
            feature map do. A network trained on whole scans needs the whole as its context.
    """
    per_slice = shape[0] * shape[1]
    most = max(CHUNK_CELLS // per_slice, shortest + 2 * CONTEXT_CELLS + FEATURE_STRIDE)
    if not divisible or shape[2] <= most:
        yield slice(0, shape[2]), slice(0, length)
        return
    step = (most - 2 * CONTEXT_CELLS) // FEATURE_STRIDE * FEATURE_STRIDE
    for start in range(0, length, step):
        stop = min(start + step, length)
        latest = min(start - CONTEXT_CELLS, shape[2] - shortest)
        first = max(latest // FEATURE_STRIDE * FEATURE_STRIDE, 0)
        yield slice(first, min(stop + CONTEXT_CELLS, shape[2])), slice(start, stop)
