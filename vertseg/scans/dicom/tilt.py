"""Series of a tilted gantry on a straight grid.

With a tilted gantry each slice is shifted within its own plane against the one below, so that the
voxels of a stack are oblique boxes. The straight grid has the slices' planes, axes and voxel size:
only the shift within each plane is undone, by cubic splines; nothing is interpolated between
slices. The shift comes from the line through all positions, not from two headers that round them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vertseg.scans.volumes import AIR_HU

_SMALLEST_SHIFT = 0.05
"""Total shift along an axis, in voxels, below which nothing is interpolated along it."""
_DECIMALS = 4
"""Decimal places of shifts in voxels: whole ones are exact."""
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Tilt:
    """The shift of a tilted series' slices within their planes.

    Attributes:
        degrees: angle between the line through the slices' first voxels and their normal.
        offsets: place of each slice's first voxel on the straight grid, in voxels (slices, 2):
            along the columns' and the rows' direction; never negative.
        shape: columns and rows of the series' slices.
    """

    degrees: float
    offsets: np.ndarray
    shape: tuple[int, int]

    @property
    def straight_shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices of the straight grid, which holds all slices whole."""
        columns, rows = (
            size + int(np.ceil(room))
            for size, room in zip(self.shape, self.offsets.max(axis=0), strict=True)
        )
        return columns, rows, len(self.offsets)

    def straightened(self, array: np.ndarray) -> np.ndarray:
        """The series' HU on the straight grid; beyond the slices there is air.

        Args:
            array: HU (columns, rows, slices) as the series stores them, int16.

        Returns:
            HU of `straight_shape`, int16.
        """
        straight = np.empty(self.straight_shape, np.int16)
        room = [
            (0, after - before) for before, after in zip(self.shape, straight.shape, strict=False)
        ]
        for index, offset in enumerate(self.offsets):
            plane = np.pad(array[..., index], room, constant_values=AIR_HU).astype(np.float32)
            for axis in range(2):
                if offset[axis]:
                    shift = np.where(np.arange(2) == axis, offset[axis], 0.0)
                    plane = ndimage.shift(plane, shift, order=3, mode="constant", cval=AIR_HU)
            np.clip(np.rint(plane), AIR_HU, _INT16.max, out=plane)
            straight[..., index] = plane
        return straight

    def on_slices(self, labels: np.ndarray) -> np.ndarray:
        """A label map of the straight grid on the series' own slices.

        Each voxel takes the value of the nearest one in its plane, half a voxel away at most.

        Args:
            labels: values (columns, rows, slices) of `straight_shape`.

        Returns:
            Values (columns, rows, slices) in the series' own voxels.
        """
        columns, rows = self.shape
        stored = np.empty((columns, rows, len(self.offsets)), labels.dtype)
        for index, (x, y) in enumerate(np.rint(self.offsets).astype(int)):
            stored[..., index] = labels[x : x + columns, y : y + rows, index]
        return stored


def tilt_of(shear: np.ndarray, count: int, shape: tuple[int, int], degrees: float) -> Tilt:
    """The tilt of evenly shifted slices.

    Args:
        shear: shift of a slice against the one below, in voxels (2,): columns, rows.
        count: number of slices.
        shape: columns and rows of a slice.
        degrees: angle of the tilt.
    """
    shear = np.where(np.abs(shear) * (count - 1) < _SMALLEST_SHIFT, 0.0, shear)
    offsets = np.round(np.arange(count)[:, None] * shear, _DECIMALS)
    # The first slice keeps its own voxels.
    return Tilt(degrees, offsets - np.floor(offsets.min(axis=0)), shape)
