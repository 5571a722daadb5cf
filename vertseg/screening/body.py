"""The vertebral body without pedicles, arch and processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.screening.frames import Floats, LocalVolume, largest_part

_CANAL_HALF_WIDTH_MM = 4.0
_CANAL_DEPTH_MM = 5.0
_PROCESS_RADIUS_MM = 3.0
_CORNER = 0.75
"""Reach of a rim's corner beyond the ball that opens the body, in radii."""
_ANTERIOR = 0.65
"""Share of the depth behind the part that no process reaches."""
_WIDENING = 1.05
_LEAST_WALL = 0.6
"""Share of the middle columns that must end at a canal."""
_LARGEST_BULGE_MM = 6.0
"""Of the back wall; more is a canal that is filled in part."""
_LEAST_MM3 = 500
_DEEPEST = 1.3
"""Depth of a body in widths beyond which it holds a filled canal."""


@dataclass(frozen=True)
class Body:
    """An isolated body.

    Attributes:
        inside: (right, anterior, superior), the local volume's grid.
        depth_mm: distance to the body's surface, 0 outside.
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
    and arch off. Of what lies in front, that which reaches further sideways than the body's
    anterior part is cut off and that which is thinner than 6 mm is removed by an opening (the
    transverse processes of the neck); the corners that the opening rounds off are put back.

    Returns:
        None if no canal, or one that is filled in part, is found behind the body, or too little is
        left of it.
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
    box = ndimage.find_objects(front.astype(np.uint8))[0]
    opened, radius_mm = _opened(front[box], local.step_mm)
    to_opened = ndimage.distance_transform_edt(~opened, sampling=local.step_mm)
    inside = np.zeros_like(solid)
    inside[box] = front[box] & (to_opened <= _CORNER * radius_mm)
    if _too_small(inside, local):
        return None
    width, depth_voxels, _ = (
        side.stop - side.start for side in ndimage.find_objects(inside.view(np.uint8))[0]
    )
    if depth_voxels > _DEEPEST * width:
        return None
    depth = np.zeros(solid.shape, np.float32)
    depth[box] = _depth(inside[box], local.step_mm)
    return Body(inside, depth, back)


def _too_small(part: NDArray[np.bool_], local: LocalVolume) -> bool:
    return bool(part.sum() * local.step_mm**3 < _LEAST_MM3)


def _between_sides(front: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where voxels lie about as far sideways as the body's anterior part, which has no process."""
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
    """
    right, forward, up = (local.coordinates(axis) for axis in range(3))
    middle = np.abs(right) <= _CANAL_HALF_WIDTH_MM
    centre = int(np.argmin(np.abs(forward)))
    behind = solid[middle, centre::-1]
    starts = behind[:, 0]
    gap = np.argmin(behind, axis=1)
    needed = int(np.ceil(_CANAL_DEPTH_MM / local.step_mm))
    filled = np.cumsum(np.pad(behind, ((0, 0), (1, needed), (0, 0))), axis=1)
    beyond, here = (np.take_along_axis(filled, (gap + n)[:, None], 1)[:, 0] for n in (needed, 0))
    canal = starts & (gap > 0) & (beyond == here)
    if canal.sum() < _LEAST_WALL * max(starts.sum(), 1):
        return None
    wall = forward[centre] - (gap[canal] - 0.5) * local.step_mm
    height = np.broadcast_to(up, canal.shape)[canal]
    curve = _robust_curve(height, wall, up)
    bulge = (curve[0] + curve[-1]) / 2 - curve[len(curve) // 2]
    return curve if abs(bulge) <= _LARGEST_BULGE_MM else None


def _robust_curve(x: Floats, y: Floats, at: Floats) -> Floats:
    """Parabola of y over x without the points far from a first fit, constant beyond the data."""
    keep = np.abs(y - np.median(y)) <= 6
    for degree, limit in ((1, 3.0), (2, 2.0), (2, 2.0)):
        if np.ptp(x[keep]) < 6:
            return np.full(at.shape, np.median(y))
        curve = np.polynomial.Polynomial.fit(x[keep], y[keep], degree)
        keep = np.abs(y - curve(x)) <= limit
    return curve(np.clip(at, x[keep].min(), x[keep].max()))


def _opened(solid: NDArray[np.bool_], step_mm: float) -> tuple[NDArray[np.bool_], float]:
    """Largest part of an opening by a ball, which is smaller for bodies thinner than the ball."""
    depth = _depth(solid, step_mm)
    radius = min(_PROCESS_RADIUS_MM, 0.8 * float(depth.max()))
    core = largest_part(depth >= radius)
    return ndimage.distance_transform_edt(~core, sampling=step_mm) <= radius - step_mm / 2, radius


def _depth(solid: NDArray[np.bool_], step_mm: float) -> Floats:
    padded = np.pad(solid, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=step_mm)[1:-1, 1:-1, 1:-1]
    return np.maximum(depth - step_mm / 2, 0)
