"""The network's grid: a fixed number of cells for every scan, or cells of a fixed size.

Along an axis of n native voxels and N cells, cell g covers the voxels [g, g + 1) * n / N, the
convention of `align_corners=False`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes

from vertseg.anatomy.boxes import Box
from vertseg.core.parallel import in_threads
from vertseg.scans.volumes import AIR_HU, Geometry

WINDOW_HU = (-450.0, 1050.0)
"""The radiologist's bone window (level 300 HU, width 1500 HU), mapped to [-1, 1]: fat, soft tissue
and trabecular bone stay apart, metal and lung saturate."""

AIR = -1.0
"""Value of air, and of everything outside the scan, in a normalised image."""

SLAB_VOXELS = 2**21
"""Native voxels resampled at a time; as float32 a slab takes four times as many bytes."""

_BAND_CELLS = 16
"""Cells of an axis computed at a time, each of which depends on few voxels."""

GridShape = tuple[int, int, int]

GridSpec = Sequence[int] | Mapping[str, Any]
"""Configured grid: a shape onto which every scan is stretched, or `{"spacing_mm": s}` for cells of
s mm, whose number follows from the scan's extent."""


def grid_shape(spec: GridSpec, native: Geometry) -> GridShape:
    """Shape (X, Y, Z) of a scan's grid."""
    if isinstance(spec, Mapping):
        extent_mm = np.array(native.canonical_shape) * voxel_sizes(native.canonical_affine)
        cells = np.maximum(np.rint(extent_mm / spec["spacing_mm"]), 1)
    else:
        cells = np.array(spec)
    x, y, z = (int(n) for n in cells)
    return x, y, z


@dataclass(frozen=True)
class GridTransform:
    """The map between a scan's canonical voxels and the network's grid.

    Attributes:
        shape: cells (X, Y, Z) of the grid.
        native: geometry of the scan as stored.
    """

    shape: GridShape
    native: Geometry

    @classmethod
    def onto(cls, spec: GridSpec, native: Geometry) -> "GridTransform":
        """The map of a scan onto a configured grid."""
        return cls(grid_shape(spec, native), native)

    @property
    def cell_mm(self) -> np.ndarray:
        """Size of a cell along x, y and z in mm."""
        voxel_mm = voxel_sizes(self.native.canonical_affine)
        return np.array(self.native.canonical_shape) * voxel_mm / self.shape

    def encode_image(self, ct: np.ndarray, threads: int = 1) -> np.ndarray:
        """Normalise a canonical CT (x, y, z) in HU and resample it to a float16 grid (X, Y, Z).

        Linear interpolation with a triangle filter as wide as a grid cell, so that coarse grids
        average instead of aliasing. Values are clipped to the bone window first, so that metal
        does not outshine its surroundings.

        Args:
            ct: HU.
            threads: number of slabs resampled at a time.
        """
        self._check(ct)
        to_x, to_y, to_z = (
            interpolation_matrix(n, cells) for n, cells in zip(ct.shape, self.shape, strict=True)
        )
        parts_x, parts_y = bands(to_x), bands(to_y)
        in_plane = np.empty((*self.shape[:2], ct.shape[2]), np.float32)

        def resample(slab: Box) -> None:
            z = slab.slices[2]
            # Most files have this order in memory, (z, y, x).
            normalised = normalise_hu(ct[:, :, z].T)
            rows = normalised.reshape(-1, ct.shape[0])
            by_x = np.empty((len(rows), self.shape[0]), np.float32)
            for cells, voxels, weights in parts_x:
                np.matmul(rows[:, voxels], weights.T, out=by_x[:, cells])
            by_x = by_x.reshape(*normalised.shape[:2], -1)
            for cells, voxels, weights in parts_y:
                in_plane[:, cells, z] = np.matmul(weights, by_x[:, voxels]).T

        in_threads(resample, [(slab,) for slab in slabs(Box.whole(ct.shape))], threads)
        return (in_plane @ to_z.T).astype(np.float16)

    def encode_labels(self, mask: np.ndarray) -> np.ndarray:
        """Nearest-neighbour label map (X, Y, Z) of a canonical label map (x, y, z)."""
        self._check(mask)
        centres = [
            (np.arange(cells) * 2 + 1) * n // (2 * cells)
            for n, cells in zip(mask.shape, self.shape, strict=True)
        ]
        return mask[np.ix_(*centres)].astype(np.uint8)

    def to_json(self) -> str:
        """Shape and native geometry as text."""
        native = self.native
        return json.dumps(
            {
                "shape": self.shape,
                "native_shape": native.shape,
                "native_affine": native.affine.tolist(),
                "sform_code": native.sform_code,
                "qform_code": native.qform_code,
                "sform": None if native.sform is None else native.sform.tolist(),
                "qform": None if native.qform is None else native.qform.tolist(),
                "xyzt_units": native.xyzt_units,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "GridTransform":
        """The transform written by `to_json`."""
        stored = json.loads(text)
        sform, qform = stored["sform"], stored["qform"]
        native = Geometry(
            tuple(stored["native_shape"]),
            np.array(stored["native_affine"]),
            stored["sform_code"],
            stored["qform_code"],
            None if sform is None else np.array(sform),
            None if qform is None else np.array(qform),
            stored["xyzt_units"],
        )
        return cls(tuple(stored["shape"]), native)

    def _check(self, array: np.ndarray) -> None:
        expected = self.native.canonical_shape
        if array.shape != expected:
            raise ValueError(f"array of shape {array.shape} given to a transform of {expected}")


def normalise_hu(ct: np.ndarray) -> np.ndarray:
    """HU to float32 in [-1, 1] by the bone window; padding values below air become air."""
    low, high = WINDOW_HU
    ends: tuple[Any, Any] = (max(low, AIR_HU), high)
    if np.can_cast(np.int16, ct.dtype):
        # Other numbers would be clipped in double precision.
        ends = tuple(ct.dtype.type(end) for end in ends)
    values = np.clip(ct, *ends).astype(np.float32)
    values -= np.float32(low)
    values *= np.float32(2 / (high - low))
    values -= np.float32(1)
    return values


def hounsfield(normalised: np.ndarray) -> np.ndarray:
    """HU of normalised values; those beyond the bone window are lost."""
    low, high = WINDOW_HU
    return (normalised + 1) / 2 * (high - low) + low


def interpolation_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Linear resampling of one axis as a float32 matrix (n_out, n_in); its rows sum to 1.

    Going down, the triangle kernel is widened to an output cell (antialiasing, as in Pillow and
    torch's `interpolate(antialias=True)`); going up, this is `align_corners=False`.
    """
    scale = n_in / n_out
    width = max(scale, 1.0)
    centres = (np.arange(n_out) + 0.5) * scale - 0.5
    if scale <= 1.0:
        centres = np.clip(centres, 0, n_in - 1)
    distance = np.abs(centres[:, None] - np.arange(n_in)[None, :])
    weights = np.clip(1 - distance / width, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bands(matrix: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """Parts of a resampling matrix (n_out, n_in) that hold all but its zeros.

    Returns:
        Some rows, the columns that these use, and the matrix of both.
    """
    parts = []
    for start in range(0, len(matrix), _BAND_CELLS):
        rows = slice(start, start + _BAND_CELLS)
        used = np.flatnonzero(matrix[rows].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        parts.append((rows, columns, matrix[rows, columns]))
    return parts


def interpolate(values: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Values (X, Y, Z) interpolated along each axis by a matrix (points, cells) of its own."""
    to_x, to_y, to_z = matrices
    return np.tensordot(to_x, np.matmul(to_y, values @ to_z.T), (1, 0))


def slabs(box: Box) -> Iterator[Box]:
    """Parts of a box along z, each of a bounded number of voxels."""
    x, y, _ = box.shape
    step = max(1, SLAB_VOXELS // (x * y))
    for start in range(box.start[2], box.stop[2], step):
        yield box.along_z(start, min(start + step, box.stop[2]))
