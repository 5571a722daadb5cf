"""Implicit primitives, each evaluated in its own bounding box of the scan's grid alone."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vertseg.phantom.geometry import Floats, Frame

FAR_MM = 99.0
Region = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """An axis-aligned RAS+ voxel grid.

    Attributes:
        origin: (3,) centre of voxel 0 in mm.
        spacing: (3,) voxel size in mm.
        shape: voxels along x, y and z.
    """

    origin: Floats
    spacing: Floats
    shape: tuple[int, int, int]

    @cached_property
    def axes(self) -> tuple[NDArray[np.float32], ...]:
        """World coordinates of the voxels along x, y and z in mm, three 1-D arrays."""
        return tuple(
            (start + step * np.arange(count)).astype(np.float32)
            for start, step, count in zip(self.origin, self.spacing, self.shape, strict=True)
        )

    @property
    def affine(self) -> Floats:
        """Affine (4, 4) from voxel indices to world mm."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    @property
    def upper(self) -> Floats:
        """Centre (3,) of the last voxel in mm."""
        return self.origin + self.spacing * (np.array(self.shape) - 1)

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Whether world points (..., 3) lie within the outer faces of the grid's voxels, (...)."""
        half = self.spacing / 2
        points = np.asarray(points)
        within = (points >= self.origin - half) & (points <= self.upper + half)
        return np.asarray(within.all(axis=-1))

    def region(self, centre: Floats, half_size: Floats) -> Region | None:
        """Voxels of a world-aligned box; None for a box outside the grid."""
        start = np.maximum(np.floor((centre - half_size - self.origin) / self.spacing), 0)
        stop = np.minimum(
            np.ceil((centre + half_size - self.origin) / self.spacing) + 1, self.shape
        )
        if (start >= stop).any():
            return None
        x, y, z = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return x, y, z

    def local(self, region: Region, frame: Frame) -> list[NDArray[np.float32]]:
        """Coordinates (x, y, z) of a region's voxels along the frame's axes, one array per axis."""
        x, y, z = (
            axis[part] - np.float32(start)
            for axis, part, start in zip(self.axes, region, frame.origin, strict=True)
        )
        axes = frame.axes.astype(np.float32)
        return [
            (x * axes[0, k])[:, None, None] + (y * axes[1, k])[:, None] + z * axes[2, k]
            for k in range(axes.shape[1])
        ]


class Patch(NamedTuple):
    """Signed distance in mm (negative inside) over a region of the grid."""

    region: Region
    distance: NDArray[np.float32]


def local_region(grid: Grid, frame: Frame, half_size: ArrayLike) -> Region | None:
    """Voxels that cover a box along a frame's axes around its origin, with a margin."""
    margin = 1.5 * grid.spacing.max()
    return grid.region(frame.origin, np.abs(frame.axes) @ np.asarray(half_size, float) + margin)


def ellipsoid(grid: Grid, frame: Frame, semi_axes: ArrayLike) -> Patch | None:
    """Ellipsoid around a frame's origin with semi-axes in mm along the frame's axes."""
    lengths = np.asarray(semi_axes, dtype=float)
    region = local_region(grid, frame, lengths)
    if region is None:
        return None
    unit_sphere = Frame(frame.origin, frame.axes / lengths)
    radius = np.sqrt(sum_of_squares(grid.local(region, unit_sphere)))
    return Patch(region, (radius - 1) * np.float32(lengths.min()))


def capsule(
    grid: Grid,
    frame: Frame,
    start: ArrayLike,
    end: ArrayLike,
    radii: tuple[float, float],
    stretch: tuple[float, float, float] = (1, 1, 1),
) -> Patch | None:
    """Rounded, tapered rod between two local points.

    Args:
        grid: voxels of the scan.
        frame: local axes.
        start: (3,) first local point in mm.
        end: (3,) second local point in mm.
        radii: radius at start and end in mm.
        stretch: factors on the cross-section along the local axes, which turn a rod into a plate.

    Returns:
        None for a rod outside the grid.
    """
    first, last, widths = (np.asarray(value, dtype=float) for value in (start, end, stretch))
    middle = frame.shifted((first + last) / 2)
    region = local_region(grid, middle, np.abs(last - first) / 2 + max(radii) * widths)
    if region is None:
        return None
    half_axis = (last - first) / widths / 2
    half_length = float(np.linalg.norm(half_axis)) + 1e-3
    stretched = Frame(middle.origin, middle.axes / widths)
    along_axis = Frame(middle.origin, (stretched.axes @ half_axis / half_length)[:, None])
    along = grid.local(region, along_axis)[0]
    nearest = np.clip(along, -half_length, half_length)
    squared = sum_of_squares(grid.local(region, stretched)) - nearest * (2 * along - nearest)
    radius = (radii[0] + radii[1]) / 2 + nearest * ((radii[1] - radii[0]) / (2 * half_length))
    distance = (np.sqrt(np.maximum(squared, 0)) - radius) * min(stretch)
    return Patch(region, distance)


def sum_of_squares(coordinates: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Squared length of vectors given as one array per coordinate."""
    total = coordinates[0] ** 2
    for coordinate in coordinates[1:]:
        total += coordinate**2
    return total


class DistanceField:
    """Signed distance to the nearest structure and that structure's number, over a grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.distance = np.full(grid.shape, FAR_MM, dtype=np.float32)
        self.owner = np.zeros(grid.shape, dtype=np.uint8)

    def add(self, patch: Patch | None, owner: int) -> None:
        """Unite with a primitive; None stands for a primitive outside the grid."""
        if patch is None:
            return
        distance = self.distance[patch.region]
        nearer = patch.distance < distance
        np.copyto(distance, patch.distance, where=nearer)
        np.copyto(self.owner[patch.region], np.uint8(owner), where=nearer)

    def add_tube(
        self, points: Floats, radius: float, owner: int, stretch: tuple[float, float, float]
    ) -> None:
        """Unite with a tube of constant radius along a polyline (n, 3) in world mm."""
        world = Frame(np.zeros(3), np.eye(3))
        for start, end in pairwise(points):
            self.add(capsule(self.grid, world, start, end, (radius, radius), stretch), owner)


def smooth_noise(rng: np.random.Generator, grid: Grid, period_mm: float) -> NDArray[np.float32]:
    """Standard normal noise (x, y, z) at nodes `period_mm` apart, interpolated linearly."""
    extent = grid.spacing * np.array(grid.shape)
    nodes = np.maximum(np.ceil(extent / period_mm).astype(int) + 1, 2)
    noise = rng.standard_normal(size=tuple(nodes), dtype=np.float32)
    for axis in (2, 1, 0):
        count = grid.shape[axis]
        position = np.linspace(0, noise.shape[axis] - 1, count)
        lower = np.minimum(position.astype(int), noise.shape[axis] - 2)
        weight = (position - lower).astype(np.float32)
        weight = weight.reshape([-1 if k == axis else 1 for k in range(3)])
        steps = np.diff(noise, axis=axis)
        noise = np.take(noise, lower, axis)
        rise = np.take(steps, lower, axis)
        rise *= weight
        noise += rise
    return noise
