"""From logits on the network's grid to a label map on the scan's own voxels."""

from functools import reduce

import numpy as np

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import BACKGROUND
from vertseg.scans.volumes import blank_labels
from vertseg.segmentation.grid import GridTransform, interpolate, interpolation_matrix, slabs


def decode_logits(
    logits: np.ndarray, label_map: np.ndarray, transform: GridTransform, seen: Box | None = None
) -> np.ndarray:
    """Label map in canonical native space (x, y, z) uint8 from logits on the grid.

    Logits, not labels, are interpolated (trilinear), and the largest wins. A label competes only
    in the bounding box of its cells, widened by a cell. Elsewhere it could win only between two
    cells that both prefer other labels. Time and memory thus depend on the size of the spine, and
    29 channels at full resolution are never held.

    Args:
        logits: (C, X, Y, Z) floating.
        label_map: labels of the cells (X, Y, Z), usually those of their largest logits.
        transform: the map between the scan's voxels and the grid.
        seen: cells that both arrays hold; all cells of the grid by default. Logits elsewhere are 0.

    Raises:
        ValueError: the arrays are not on the transform's grid.
    """
    box = Box.whole(transform.shape) if seen is None else seen
    if not logits.shape[1:] == label_map.shape == box.shape:
        raise ValueError(
            f"logits {logits.shape[1:]} and labels {label_map.shape} given for a grid of "
            f"{box.shape} cells"
        )
    native_shape = transform.native.canonical_shape
    result = blank_labels(transform.native)
    reach_of = {
        label: reach(cells.moved(box.start), transform)
        for label, cells in label_boxes(label_map).items()
    }
    if not reach_of:
        return result
    matrices = [
        interpolation_matrix(cells, voxels)
        for cells, voxels in zip(transform.shape, native_shape, strict=True)
    ]
    for slab in slabs(reduce(Box.union, reach_of.values())):
        best = interpolated(logits[BACKGROUND], box, matrices, slab)
        winners = result[slab.slices]
        for label, whole_reach in reach_of.items():
            part = whole_reach.intersection(slab)
            if part.is_empty:
                continue
            own = part.inside(slab).slices
            score = interpolated(logits[label], box, matrices, part)
            wins = score > best[own]
            np.copyto(best[own], score, where=wins)
            winners[own][wins] = label
    return result


def reach(cells: Box, transform: GridTransform) -> Box:
    """Native box of all voxels whose interpolation reads a cell in a box on the grid."""
    sides = []
    for first, behind, count, voxels in zip(
        cells.start, cells.stop, transform.shape, transform.native.canonical_shape, strict=True
    ):
        scale = voxels / count
        start = max(int(np.floor((first - 0.5) * scale - 0.5)), 0)
        sides.append(slice(start, min(int(np.ceil((behind + 0.5) * scale - 0.5)) + 1, voxels)))
    return Box.of(sides)


def interpolated(
    channel: np.ndarray, box: Box, matrices: list[np.ndarray], region: Box
) -> np.ndarray:
    """One channel (X, Y, Z) at the native voxels of a region, float32 (x, y, z).

    Args:
        channel: values of the grid's cells in a box; all others are 0.
        box: these cells.
        matrices: interpolation along each axis, (voxels, cells).
        region: native voxels.
    """
    weights, cells = [], []
    for matrix, voxels in zip(matrices, region.slices, strict=True):
        rows = matrix[voxels]
        used = np.flatnonzero(rows.any(axis=0))
        cells.append(slice(used[0], used[-1] + 1))
        weights.append(rows[:, cells[-1]])
    return interpolate(_within(channel, box, Box.of(cells)), weights)


def _within(channel: np.ndarray, box: Box, part: Box) -> np.ndarray:
    """Values (X, Y, Z) float32 of a part of the grid, from those of a box; 0 beyond that."""
    shared = part.intersection(box)
    if shared == part:
        return channel[part.inside(box).slices].astype(np.float32, copy=False)
    values = np.zeros(part.shape, np.float32)
    values[shared.inside(part).slices] = channel[shared.inside(box).slices]
    return values
