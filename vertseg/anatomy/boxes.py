"""Boxes of voxels: intersection, union, margins, indices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A block of an array's voxels along its first three axes.

    Attributes:
        start: first voxel (x, y, z).
        stop: voxel behind the last one (x, y, z).
    """

    start: Triple
    stop: Triple

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Self:
        """The box of all voxels of an array (x, y, z)."""
        return cls((0, 0, 0), _triple(shape))

    @classmethod
    def of(cls, slices: Sequence[slice]) -> Self:
        """The box of three slices, as `scipy.ndimage.find_objects` gives them."""
        return cls(_triple([s.start for s in slices]), _triple([s.stop for s in slices]))

    @property
    def shape(self) -> Triple:
        """Number of voxels along each axis, 0 where the box is empty."""
        return _triple([max(b - a, 0) for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        return min(self.shape) == 0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box's voxels in their array (x, y, z), within which the box must lie."""
        x, y, z = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    def inside(self, outer: "Box") -> "Box":
        """The same voxels counted from the start of a box around them."""
        corner = np.array(outer.start)
        return Box(_triple(self.start - corner), _triple(self.stop - corner))

    def moved(self, offset: Sequence[int] | np.ndarray) -> "Box":
        """The box at another place."""
        return Box(_triple(np.array(self.start) + offset), _triple(np.array(self.stop) + offset))

    def intersection(self, other: "Box") -> "Box":
        """The voxels that two boxes share; an empty box if there are none."""
        return Box(
            _triple(np.maximum(self.start, other.start)), _triple(np.minimum(self.stop, other.stop))
        )

    def union(self, other: "Box") -> "Box":
        """The smallest box around two boxes, neither of them empty."""
        return Box(
            _triple(np.minimum(self.start, other.start)), _triple(np.maximum(self.stop, other.stop))
        )

    def widened(self, margin: int | Sequence[int] | np.ndarray, shape: Sequence[int]) -> "Box":
        """The box with a margin of voxels on all sides, as far as an array of `shape` reaches."""
        grown = Box(_triple(np.array(self.start) - margin), _triple(np.array(self.stop) + margin))
        return grown.intersection(Box.whole(shape))

    def along_z(self, start: int, stop: int) -> "Box":
        """The slab of the box between two voxels of the third axis."""
        return Box((*self.start[:2], start), (*self.stop[:2], stop))


def _triple(values: Sequence[int] | np.ndarray) -> Triple:
    x, y, z = (int(value) for value in values)
    return x, y, z
