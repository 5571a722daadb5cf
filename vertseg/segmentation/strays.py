"""Pieces of bone that a network gave to the wrong one of two neighbours."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.core.parallel import in_threads
from vertseg.segmentation.sealing import dilated
from vertseg.segmentation.surroundings import Mask, Surroundings, Thresholds

STRAY_MM3 = 50
"""Smallest volume of a piece of bone that goes to the vertebra whose bone it continues."""

_LEAST_TOUCHING = 0.1
"""Smallest share of such a piece's surroundings that is bone of that vertebra."""


def find_strays(
    ct: NDArray,
    mask: NDArray,
    near: Surroundings,
    boxes: Mapping[int, Box],
    thresholds: Mapping[int, Thresholds | None],
    threads: int,
) -> list[tuple[Box, Mask, int]]:
    """Pieces of bone that a label holds of another vertebra.

    A network's border between two bodies may lie in an end-plate. What lies beyond the disc is then
    apart from the rest of the label's bone, and continues in the neighbour's.

    Args:
        ct: HU (x, y, z).
        mask: labels (x, y, z).
        near: the spine and its surroundings.
        boxes: smallest box around each label.
        thresholds: of each label.
        threads: number of vertebrae looked at at a time.

    Returns:
        Box, voxels in it and right label of each piece.
    """
    within = near.box
    bone = np.zeros(within.shape, bool)
    for label, box in boxes.items():
        limits = thresholds[label]
        if limits is not None:
            own = (mask[box.slices] == label) & (ct[box.slices] > limits[0])
            bone[box.inside(within).slices] |= own
    jobs = [(mask, bone, within, label, box, near.spacing.prod()) for label, box in boxes.items()]
    return [stray for found in in_threads(_strays_of, jobs, threads) for stray in found]


def _strays_of(
    mask: NDArray, bone: Mask, within: Box, label: int, box: Box, voxel_mm3: float
) -> list[tuple[Box, Mask, int]]:
    """Pieces of bone (x, y, z) in the box `within` of the scan that one label holds of others."""
    parts, count = ndimage.label((mask[box.slices] == label) & bone[box.inside(within).slices])
    if count < 2:
        return []
    size = np.bincount(parts.ravel())
    size[0] = 0
    objects = ndimage.find_objects(parts)
    strays = []
    for part in np.flatnonzero(size * voxel_mm3 >= STRAY_MM3):
        if part == size.argmax():
            continue
        inner = Box.of(objects[part - 1])
        its_box = inner.moved(box.start)
        around = its_box.widened(1, mask.shape)
        inside = np.zeros(around.shape, bool)
        inside[its_box.inside(around).slices] = parts[inner.slices] == part
        ring = dilated(inside, (True, True, True)) & ~inside
        touched = mask[around.slices][ring & bone[around.inside(within).slices]]
        others = touched[touched != label]
        if len(others) >= max(_LEAST_TOUCHING * np.count_nonzero(ring), 1):
            strays.append((around, inside, int(np.bincount(others).argmax())))
    return strays
