"""Rotations and local frames in millimetres."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]


def rotation(axis: Literal["x", "y", "z"], degrees: float) -> Floats:
    """Right-handed 3x3 rotation about a coordinate axis."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


@dataclass(frozen=True)
class Frame:
    """A local coordinate system in world space.

    Attributes:
        origin: (3,) mm.
        axes: (3, 3) local right, anterior and superior unit vectors as columns.
    """

    origin: Floats
    axes: Floats

    def to_world(self, points: ArrayLike) -> Floats:
        """World coordinates (..., 3) in mm of local points (..., 3) in mm."""
        return self.origin + np.asarray(points, dtype=float) @ self.axes.T

    def shifted(self, offset: ArrayLike) -> "Frame":
        """The same axes with the origin at a local offset in mm."""
        return Frame(self.to_world(offset), self.axes)

    def turned(self, turn: Floats) -> "Frame":
        """The frame turned about its own origin by a rotation given in local axes."""
        return Frame(self.origin, self.axes @ turn)

    def moved(self, turn: Floats, pivot: Floats) -> "Frame":
        """The frame rotated in world space about a pivot."""
        return Frame(pivot + turn @ (self.origin - pivot), turn @ self.axes)
