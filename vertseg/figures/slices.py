"""Slices along a spine, and heights for the names of its vertebrae; without matplotlib."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vertseg.anatomy.centroids import Centres, body_centres

BONE_WINDOW_HU = (-200.0, 900.0)


@dataclass(frozen=True)
class View:
    """One slice, upright: rows from foot to head.

    Attributes:
        grey: CT (z, u) in HU.
        predicted: label map (z, u).
        reference: label map (z, u), or None.
        extent: left, right, bottom, top in mm.
        sides: letters of the left and the right side.
    """

    grey: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray | None
    extent: tuple[float, float, float, float]
    sides: tuple[str, str]


def centre_line(
    label_map: np.ndarray, spacing_mm: np.ndarray, step: Sequence[int] = (1, 1, 1)
) -> np.ndarray:
    """Position of the spine's centre at each height, interpolated between the bodies' centres.

    Args:
        label_map: label map (x, y, z), not empty.
        spacing_mm: voxel size (3,).
        step: stride in voxels along x, y and z.

    Returns:
        Voxel indices (2, z): x and y at each z, constant beyond the outermost vertebrae.
    """
    return line_through(body_voxels(label_map, spacing_mm, step), label_map.shape[2])


def body_voxels(
    label_map: np.ndarray, spacing_mm: np.ndarray, step: Sequence[int] = (1, 1, 1)
) -> Centres:
    """Centre (3,) of each vertebra's body in voxels, by label. Arguments as of `centre_line`."""
    coarse = label_map[tuple(slice(None, None, stride) for stride in step)]
    points = body_centres(coarse, np.diag([*(spacing_mm * step), 1.0]))
    return {label: point / spacing_mm for label, point in points.items()}


def line_through(points: Centres, height: int) -> np.ndarray:
    """Voxel indices (2, z) of a line through points in voxels, for each of `height` slices."""
    centres = np.array(sorted(points.values(), key=lambda point: float(point[2])))
    z = np.arange(height)
    line = np.array([np.interp(z, centres[:, 2], centres[:, axis]) for axis in (0, 1)])
    return np.rint(line).astype(int)


def curved_views(
    grey: np.ndarray,
    predicted: np.ndarray,
    reference: np.ndarray | None,
    spacing_mm: np.ndarray,
    line: np.ndarray,
) -> tuple[View, View]:
    """Sagittal slice (anterior to the left) and coronal one (the patient's right to the left).

    Args:
        grey: CT (x, y, z) in HU.
        predicted: label map (x, y, z).
        reference: label map (x, y, z), or None.
        spacing_mm: voxel size (3,).
        line: voxel indices (2, z): x of the sagittal slice and y of the coronal one at each z.
    """
    x_line, y_line = line
    z = np.arange(grey.shape[2])
    width_x, width_y, height = np.array(grey.shape) * spacing_mm

    def sagittal(array: np.ndarray) -> np.ndarray:
        return array[x_line, :, z][:, ::-1]

    def coronal(array: np.ndarray) -> np.ndarray:
        return array[:, y_line, z].T[:, ::-1]

    def view(cut: Callable[[np.ndarray], np.ndarray], width: float, sides: tuple[str, str]) -> View:
        return View(
            cut(grey),
            cut(predicted),
            None if reference is None else cut(reference),
            (0.0, float(width), 0.0, float(height)),
            sides,
        )

    return view(sagittal, width_y, ("A", "P")), view(coronal, width_x, ("R", "L"))


def spread_apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """Heights, moved as little as needed to keep a gap between neighbours.

    Neighbours that are too close form a block around their common mean; blocks that then touch
    are joined.

    Args:
        heights: heights in ascending order.
        gap: smallest distance of neighbours, in the same unit.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1], gap) < _top(blocks[-2], gap) + gap:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return np.array(
        [_bottom(block, gap) + gap * index for block in blocks for index in range(len(block))]
    )


def _bottom(block: list[float], gap: float) -> float:
    return sum(block) / len(block) - gap * (len(block) - 1) / 2


def _top(block: list[float], gap: float) -> float:
    return sum(block) / len(block) + gap * (len(block) - 1) / 2
