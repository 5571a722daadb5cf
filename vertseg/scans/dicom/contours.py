"""Outlines of masks in a plane as closed polygons, as DICOM's structure sets hold them.

An outline runs half-way between the centres of voxels inside and outside. A hole, such as the
spinal canal, is joined to the outline around it by a channel of no width (PS3.3, C.8.8.6.3). The
channel runs between two rows of voxels, so that every voxel's centre lies clearly inside or
outside the polygon.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from contourpy import FillType, contour_generator

_ABOVE = 2.0
"""A value above those of masks."""


def mask_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons around the pieces of a mask.

    Args:
        mask: booleans (rows, columns).

    Returns:
        Polygons (n, 2), n >= 4, of column and row, counted from the first voxel's centre; the last
        point is joined to the first. Each has the area of its piece, less half a voxel.
    """
    generator = contour_generator(
        z=np.pad(mask, 1).astype(np.float64), fill_type=FillType.OuterOffset
    )
    polygons = []
    for points, offsets in zip(*generator.filled(0.5, _ABOVE), strict=True):
        rings = [points[start:stop][:-1] - 1 for start, stop in itertools.pairwise(offsets)]
        polygons.append(_simplified(_with_channels(rings[0], rings[1:])))
    return polygons


def _with_channels(outline: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon of an outline and its holes (n, 2), the leftmost hole first."""
    for ring in sorted((_from_leftmost(hole) for hole in holes), key=lambda ring: ring[0, 0]):
        column, row = ring[0]
        ends = np.roll(outline, -1, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (row - outline[:, 1]) / (ends[:, 1] - outline[:, 1])
            crossing = outline[:, 0] + share * (ends[:, 0] - outline[:, 0])
        left_of_it = (share >= 0) & (share <= 1) & (crossing < column)
        edge = int(np.argmax(np.where(left_of_it, crossing, -np.inf)))
        bridge = np.array([[crossing[edge], row]])
        outline = np.concatenate(
            [outline[: edge + 1], bridge, ring, ring[:1], bridge, outline[edge + 1 :]]
        )
    return outline


def _from_leftmost(ring: np.ndarray) -> np.ndarray:
    """A ring that begins with its leftmost point between two rows."""
    between_rows = ring[:, 1] % 1 == 0.5
    return np.roll(ring, -int(np.argmin(np.where(between_rows, ring[:, 0], np.inf))), axis=0)


def _simplified(polygon: np.ndarray) -> np.ndarray:
    """The polygon without points that repeat the one before or lie on a straight way."""
    polygon = polygon[np.any(polygon != np.roll(polygon, 1, axis=0), axis=1)]
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    straight = (np.abs(turn) < 1e-9) & (np.sum(before * after, axis=1) > 0)
    return polygon[~straight]
