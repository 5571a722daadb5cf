"""The vertebral body without pedicles, arch and processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.screening.frames import Floats, LocalVolume, box_around, largest_part

_CANAL_HALF_WIDTH_MM = 4.0
_CANAL_DEPTH_MM = 5.0
"""Least depth of a gap behind the body that counts as the spinal canal."""
_PROCESS_RADIUS_MM = 3.0
"""Half thickness up to which transverse processes of the neck are opened away."""
_CORNER = 0.75
"""Reach of a rim's corner beyond the ball that opens the body, in radii."""
_ANTERIOR = 0.65
"""Share of the depth behind the part that no process reaches."""
_WIDENING = 1.05
"""Reach of a body to either side, in reaches of its anterior part."""
_LEAST_WALL = 0.6
"""Smallest share of the middle columns that end at a canal."""
_LARGEST_BULGE_MM = 6.0
"""Largest bulge of a back wall; a canal that is filled in part gives more."""
_LEAST_MM3 = 500
_DEEPEST = 1.3
"""Largest depth of a body in widths; a body with a filled canal is deeper."""


@dataclass(frozen=True)
class Body:
    """An isolated body on the grid of its local volume.

    Attributes:
        inside: voxels of the body, (right, anterior, superior).
        depth_mm: distance to the body's surface, 0 outside, same shape.
        back_mm: (superior,) anterior coordinate of the back wall.
    """

    inside: NDArray[np.bool_]
    depth_mm: Floats
    back_mm: Floats

    def extent(self) -> tuple[Floats, Floats, Floats]:
        """First and last voxel along each axis and centre of mass, each (3,)."""
        voxels = np.argwhere(self.inside)
        return voxels.min(axis=0), voxels.max(axis=0), voxels.mean(axis=0)


def isolate_body(local: LocalVolume) -> Body | None:
    """Cut the body off its posterior elements.

    The spinal canal shows where the body ends: its front wall, continued sideways, cuts pedicles
    and arch off. Parts in front of it are removed where they reach further sideways than the
    body's anterior part, and by an opening where they are thinner than 6 mm (transverse processes
    of the neck); the corners that the opening rounds off are put back.

    Returns:
        None without an open spinal canal behind the body, or if the rest is too small for a body.
    """
    solid = local.occupancy >= 0.5
    back = _back_wall(local, solid)
    if back is None:
        return None
    front = largest_part(solid & (local.coordinates(1)[:, None] > back))
    if _too_small(front, local):
        return None
    front &= _between_sides(front)
    if _too_small(front, local):
        return None
    box = box_around(front).slices
    opened, radius_mm = _opened(front[box], local.step_mm)
    to_opened = ndimage.distance_transform_edt(~opened, sampling=local.step_mm)
    inside = np.zeros_like(solid)
    inside[box] = front[box] & (to_opened <= _CORNER * radius_mm)
    if _too_small(inside, local):
        return None
    width, depth_voxels, _ = box_around(inside).shape
    if depth_voxels > _DEEPEST * width:
        return None
    depth = np.zeros(solid.shape, np.float32)
    depth[box] = _depth(inside[box], local.step_mm)
    return Body(inside, depth, back)


def _too_small(part: NDArray[np.bool_], local: LocalVolume) -> bool:
    return bool(part.sum() * local.step_mm**3 < _LEAST_MM3)


def _between_sides(front: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slab (right, 1, 1) about as wide as the body's anterior part, which carries no process."""
    filled = np.flatnonzero(front.any(axis=(0, 2)))
    anterior = front[:, round(filled[0] + _ANTERIOR * np.ptp(filled)) :]
    reach = np.flatnonzero(anterior.any(axis=(1, 2)))
    middle, half_width = (reach[0] + reach[-1]) / 2, (reach[-1] - reach[0]) / 2
    sideways = np.abs(np.arange(front.shape[0]) - middle)
    return (sideways <= _WIDENING * half_width)[:, None, None]


def _back_wall(local: LocalVolume, solid: NDArray[np.bool_]) -> Floats | None:
    """Anterior coordinate (superior,) of the body's back wall: a slight curve along the canal.

    Each column of the middle is followed backwards from the body's centre to its first gap; it
    counts if the gap is as deep as a canal.

    Args:
        local: the vertebra along its own axes.
        solid: voxels of the vertebra, (right, anterior, superior).

    Returns:
        None if too few columns end at a canal, or the wall bulges as if the canal were filled.
    """
    right, anterior, superior = (local.coordinates(axis) for axis in range(3))
    in_middle = np.abs(right) <= _CANAL_HALF_WIDTH_MM
    centre = int(np.argmin(np.abs(anterior)))
    columns = solid[in_middle, centre::-1]  # (right, backwards, superior)
    starts_in_bone = columns[:, 0]
    first_gap = np.argmin(columns, axis=1)
    canal_voxels = int(np.ceil(_CANAL_DEPTH_MM / local.step_mm))
    ends_at_canal = (
        starts_in_bone & (first_gap > 0) & _empty_behind(columns, first_gap, canal_voxels)
    )
    if ends_at_canal.sum() < _LEAST_WALL * max(starts_in_bone.sum(), 1):
        return None
    wall_anterior = anterior[centre] - (first_gap[ends_at_canal] - 0.5) * local.step_mm
    wall_superior = np.broadcast_to(superior, ends_at_canal.shape)[ends_at_canal]
    curve = _robust_curve(wall_superior, wall_anterior, superior)
    if curve is None:
        return None
    bulge = (curve[0] + curve[-1]) / 2 - curve[len(curve) // 2]
    return curve if abs(bulge) <= _LARGEST_BULGE_MM else None


def _empty_behind(
    columns: NDArray[np.bool_], start: NDArray[np.integer], count: int
) -> NDArray[np.bool_]:
    """Whether columns are free of bone in `count` voxels from `start` on, and beyond their ends.

    Args:
        columns: bone, (right, backwards, superior).
        start: first voxel of each column, (right, superior).
        count: number of voxels.

    Returns:
        (right, superior).
    """
    bone_before = np.cumsum(np.pad(columns, ((0, 0), (1, count), (0, 0))), axis=1)
    at_start, at_end = (
        np.take_along_axis(bone_before, place[:, None], axis=1)[:, 0]
        for place in (start, start + count)
    )
    return at_start == at_end


def _robust_curve(x: Floats, y: Floats, at: Floats) -> Floats | None:
    """Parabola of y over x without the points far from a first fit, constant beyond the data.

    Args:
        x: (points,) abscissae.
        y: (points,) ordinates.
        at: abscissae at which the curve is evaluated.

    Returns:
        (at,), or None if no points are left.
    """
    keep = np.abs(y - np.median(y)) <= 6
    for degree, limit in ((1, 3.0), (2, 2.0), (2, 2.0)):
        if not keep.any():
            return None
        if np.ptp(x[keep]) < 6 or len(np.unique(x[keep])) <= degree:
            return np.full(at.shape, np.median(y))
        curve = np.polynomial.Polynomial.fit(x[keep], y[keep], degree)
        keep = np.abs(y - curve(x)) <= limit
    return curve(np.clip(at, x[keep].min(), x[keep].max())) if keep.any() else None


def _opened(solid: NDArray[np.bool_], step_mm: float) -> tuple[NDArray[np.bool_], float]:
    """Largest part of an opening by a ball, and the ball's radius in mm, smaller in thin bodies."""
    depth = _depth(solid, step_mm)
    radius = min(_PROCESS_RADIUS_MM, 0.8 * float(depth.max()))
    core = largest_part(depth >= radius)
    return ndimage.distance_transform_edt(~core, sampling=step_mm) <= radius - step_mm / 2, radius


def _depth(solid: NDArray[np.bool_], step_mm: float) -> Floats:
    """Distance in mm of each voxel's centre to the surface, 0 outside, same shape."""
    padded = np.pad(solid, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=step_mm)[1:-1, 1:-1, 1:-1]
    return np.maximum(depth - step_mm / 2, 0)
