"""Label maps: labels present, their boxes, and what the field of view cuts or shows."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, IDS, SACRUM

SACRUM_ROOM_MM = 20.0
"""Height of a scan below L5 or L6 from which on the sacrum is in view: it begins beside their arch.
"""


def labels_present(label_map: np.ndarray) -> list[int]:
    """Values other than background of a label map of any shape, in numerical order."""
    return [int(label) for label in np.unique(label_map.ravel("K")) if label != BACKGROUND]


def label_boxes(label_map: np.ndarray) -> dict[int, Box]:
    """The smallest box around each label of a map (x, y, z) of integers, in numerical order."""
    whole = labelled_box(label_map)
    if whole is None:
        return {}
    order = memory_order(label_map)
    found = enumerate(ndimage.find_objects(label_map[whole.slices].transpose(order)), start=1)
    back = np.argsort(order)
    return {
        label: Box.of([slices[axis] for axis in back]).moved(whole.start)
        for label, slices in found
        if slices is not None
    }


def memory_order(array: np.ndarray) -> np.ndarray:
    """The axes of an array, the one whose neighbours lie furthest apart in memory first."""
    return np.argsort(np.abs(array.strides))[::-1]


def labelled_box(label_map: np.ndarray) -> Box | None:
    """The smallest box around all labels of a map (x, y, z) of integers; None without labels.

    It is found much faster than that of each label.
    """
    order = memory_order(label_map)
    flat = np.transpose(label_map, order).max(axis=0) > BACKGROUND
    sides: dict[int, slice] = {}
    for axis, line in ((1, flat.any(axis=1)), (2, flat.any(axis=0))):
        inside = np.flatnonzero(line)
        if not len(inside):
            return None
        sides[int(order[axis])] = slice(int(inside[0]), int(inside[-1]) + 1)
    within = tuple(sides.get(axis, slice(None)) for axis in range(3))
    others = tuple(sides)
    inside = np.flatnonzero(label_map[within].max(axis=others) > BACKGROUND)
    sides[int(order[0])] = slice(int(inside[0]), int(inside[-1]) + 1)
    return Box.of([sides[axis] for axis in range(3)])


def grown_labels(label_map: np.ndarray, reach: int) -> np.ndarray:
    """Label of the nearest labelled cell, background where that lies beyond a reach.

    Args:
        label_map: labels (X, Y, Z).
        reach: Euclidean distance in cells.
    """
    nearby = ndimage.maximum_filter(label_map, 2 * reach + 1, mode="constant")
    is_open = (nearby > BACKGROUND) & (label_map == BACKGROUND)
    open_cells = np.flatnonzero(np.pad(is_open, reach))
    padded = np.pad(label_map, reach)
    given, grown = padded.ravel(), padded.flatten()
    ways = np.indices((2 * reach + 1,) * 3).reshape(3, -1) - reach
    lengths = (ways**2).sum(axis=0)
    _, y, z = padded.shape
    steps = np.array([y * z, z, 1]) @ ways
    for nearest in np.argsort(lengths, kind="stable")[: np.count_nonzero(lengths <= reach**2)]:
        found = given[open_cells + steps[nearest]]
        grown[open_cells] = found
        open_cells = open_cells[found == BACKGROUND]
    return grown.reshape(padded.shape)[(slice(reach, -reach),) * 3]


def boundary_labels(reference: np.ndarray, predicted: np.ndarray) -> set[int]:
    """Labels of the vertebrae that the field of view cuts.

    A vertebra is cut if its mask touches the border of the volume: the reference mask or, for a
    vertebra absent from the reference, the predicted one.

    Args:
        reference: label map.
        predicted: label map of the same shape.
    """
    invented = _border_labels(predicted) - label_boxes(reference).keys()
    return _border_labels(reference) | invented


def leaves_out_sacrum(boxes: Mapping[int, Box], cell_height_mm: float) -> bool:
    """Whether a sacrum in view has no label: the scan goes on below a labelled L5 or L6.

    Args:
        boxes: boxes of the labels of a map (x, y, z), see `label_boxes`; z goes up.
        cell_height_mm: size of a cell along z.
    """
    lowest = boxes.get(IDS["L6"]) or boxes.get(IDS["L5"])
    if lowest is None or SACRUM in boxes:
        return False
    return lowest.start[2] * cell_height_mm >= SACRUM_ROOM_MM


def _border_labels(mask: np.ndarray) -> set[int]:
    faces = (np.moveaxis(mask, axis, 0)[end] for axis in range(mask.ndim) for end in (0, -1))
    return {label for face in faces for label in labels_present(face)}
