"""Label maps: labels present, their boxes, and vertebrae cut by the field of view."""

from functools import reduce

import numpy as np
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND


def labels_present(label_map: np.ndarray) -> list[int]:
    """Values other than background of a label map of any shape, in numerical order."""
    return [int(label) for label in np.unique(label_map) if label != BACKGROUND]


def label_boxes(label_map: np.ndarray) -> dict[int, Box]:
    """The smallest box around each label of a map (x, y, z) of integers, in numerical order."""
    found = enumerate(ndimage.find_objects(label_map), start=1)
    return {label: Box.of(slices) for label, slices in found if slices is not None}


def labelled_box(label_map: np.ndarray) -> Box | None:
    """The smallest box around all labels of a map (x, y, z) of integers; None without labels."""
    boxes = list(label_boxes(label_map).values())
    return reduce(Box.union, boxes) if boxes else None


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


def _border_labels(mask: np.ndarray) -> set[int]:
    faces = (mask.take(index, axis) for axis in range(mask.ndim) for index in (0, -1))
    return {int(value) for face in faces for value in np.unique(face)} - {BACKGROUND}
