"""The network's grid: a whole scan in cells of its own size or of a fixed one, and back again.

Grid cell g of an axis covers the native voxels [g, g + 1) * n / N (n native voxels, N cells), the
convention of `align_corners=False`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertseg.volumes import AIR_HU, UNANNOTATED, Geometry, voxel_size_mm

WINDOW_HU = (-450.0, 1050.0)
"""The radiologist's bone window (level 300 HU, width 1500 HU), mapped to [-1, 1]: fat, soft tissue
and trabecular bone stay apart, metal and lung saturate."""

AIR = -1.0
"""Air in a normalised image, also what lies outside the scan."""

SLAB_VOXELS = 2**21
"""Native voxels decoded at a time; a slab of float32 logits takes four times as many bytes."""

GridShape = tuple[int, int, int]

GridSpec = Sequence[int] | Mapping[str, Any]
"""As configured: a shape that every scan is stretched onto, or `{"spacing_mm": s}`, cells of s mm
whose number follows from the scan's extent."""


def grid_shape(spec: GridSpec, native: Geometry) -> GridShape:
    """Shape (X, Y, Z) of a scan's grid."""
    if isinstance(spec, Mapping):
        extent_mm = np.array(native.canonical_shape) * voxel_size_mm(native.canonical_affine)
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
        """The map of a scan onto a grid as configured."""
        return cls(grid_shape(spec, native), native)

    @property
    def cell_mm(self) -> np.ndarray:
        """Size of a cell along x, y and z in mm."""
        voxel_mm = voxel_size_mm(self.native.canonical_affine)
        return np.array(self.native.canonical_shape) * voxel_mm / self.shape

    def encode_image(self, ct: np.ndarray) -> np.ndarray:
        """Normalise a canonical CT (x, y, z) in HU and resample it to a float16 grid (X, Y, Z).

        Linear interpolation with a triangle filter as wide as a grid cell, so that coarse grids
        average instead of aliasing. Values are clipped to the bone window first: metal must not
        outshine its surroundings.
        """
        self._check(ct)
        to_x, to_y, to_z = (
            interpolation_matrix(n, cells) for n, cells in zip(ct.shape, self.shape, strict=True)
        )
        in_plane = np.empty((*self.shape[:2], ct.shape[2]), np.float32)
        for slab in _slabs(ct.shape):
            normalised = normalise_hu(ct[:, :, slab])
            rows = np.tensordot(to_x, normalised, (1, 0))
            in_plane[:, :, slab] = np.matmul(to_y, rows)
        return (in_plane @ to_z.T).astype(np.float16)

    def encode_labels(self, mask: np.ndarray) -> np.ndarray:
        """Nearest-neighbour label map (X, Y, Z) of a canonical label map (x, y, z)."""
        self._check(mask)
        centres = [
            (np.arange(cells) * 2 + 1) * n // (2 * cells)
            for n, cells in zip(mask.shape, self.shape, strict=True)
        ]
        return mask[np.ix_(*centres)].astype(np.uint8)

    def decode_logits(self, logits: np.ndarray, on_grid: np.ndarray | None = None) -> np.ndarray:
        """Label map in canonical native space (x, y, z) from logits on the grid (C, X, Y, Z).

        Logits, not labels, are interpolated (trilinear), and the largest wins. A label competes
        within a cell's reach of the cells where it is the largest on the grid; elsewhere it
        cannot win but between two cells that both prefer others. This bounds time and memory by
        the spine's size rather than by 29 full-resolution channels.

        Args:
            logits: (C, X, Y, Z) floating.
            on_grid: their label map (X, Y, Z), where it is known already.
        """
        if logits.shape[1:] != self.shape:
            raise ValueError(f"logits of grid {logits.shape[1:]} given to a transform {self.shape}")
        if on_grid is None:
            on_grid = logits.argmax(axis=0)
        native_shape = self.native.canonical_shape
        result = np.zeros(native_shape, np.uint8)
        boxes = {
            int(label): self._reach(on_grid == label) for label in np.unique(on_grid) if label > 0
        }
        if not boxes:
            return result
        matrices = [
            interpolation_matrix(cells, n)
            for cells, n in zip(self.shape, native_shape, strict=True)
        ]
        spine = tuple(
            slice(min(box[axis].start for box in boxes.values()),
                  max(box[axis].stop for box in boxes.values()))
            for axis in range(3)
        )  # fmt: skip
        for slab in _slabs(tuple(s.stop - s.start for s in spine), first=spine[2].start):
            region = (spine[0], spine[1], slab)
            best = _interpolate(logits[0], matrices, region)
            winners = result[region]
            for label, box in boxes.items():
                z = slice(max(box[2].start, slab.start), min(box[2].stop, slab.stop))
                if z.start >= z.stop:
                    continue
                own = (box[0], box[1], z)
                local = tuple(
                    slice(s.start - r.start, s.stop - r.start)
                    for s, r in zip(own, region, strict=True)
                )
                score = _interpolate(logits[label], matrices, own)
                wins = score > best[local]
                np.copyto(best[local], score, where=wins)
                winners[local][wins] = label
        return result

    def to_json(self) -> str:
        """Everything it takes to go back, as text."""
        return json.dumps(
            {
                "shape": self.shape,
                "native_shape": self.native.shape,
                "native_affine": self.native.affine.tolist(),
                "sform_code": self.native.sform_code,
                "qform_code": self.native.qform_code,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "GridTransform":
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        native = Geometry(
            tuple(stored["native_shape"]),
            np.array(stored["native_affine"]),
            stored["sform_code"],
            stored["qform_code"],
        )
        return cls(tuple(stored["shape"]), native)

    def _check(self, array: np.ndarray) -> None:
        expected = self.native.canonical_shape
        if array.shape != expected:
            raise ValueError(f"array of shape {array.shape} given to a transform of {expected}")

    def _reach(self, cells: np.ndarray) -> tuple[slice, slice, slice]:
        """Native box of all voxels whose interpolation reads one of the marked cells."""
        box = []
        for axis, n in enumerate(self.native.canonical_shape):
            others = tuple(other for other in range(3) if other != axis)
            marked = np.flatnonzero(cells.any(axis=others))
            scale = n / self.shape[axis]
            start = int(np.floor((marked[0] - 0.5) * scale - 0.5))
            stop = int(np.ceil((marked[-1] + 1.5) * scale - 0.5)) + 1
            box.append(slice(max(start, 0), min(stop, n)))
        return box[0], box[1], box[2]


def without_unannotated(logits: np.ndarray) -> np.ndarray:
    """Let no cell prefer a class that is never annotated (sacrum, coccyx); logits are changed.

    A network that has not learned yet may.

    Args:
        logits: (C, X, Y, Z) floating.
    """
    classes = [label for label in UNANNOTATED if label < len(logits)]
    logits[classes] = logits.min()
    return logits


def normalise_hu(ct: np.ndarray) -> np.ndarray:
    """HU to float32 in [-1, 1] by the bone window; padding values below air read as air."""
    low, high = WINDOW_HU
    clipped = np.clip(ct, max(low, AIR_HU), high).astype(np.float32)
    return (clipped - np.float32(low)) * np.float32(2 / (high - low)) - np.float32(1)


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


def _interpolate(
    channel: np.ndarray, matrices: list[np.ndarray], region: tuple[slice, slice, slice]
) -> np.ndarray:
    """One channel (X, Y, Z) interpolated at the native voxels of a region, float32 (x, y, z)."""
    values = channel
    used = []
    for axis, (matrix, rows) in enumerate(zip(matrices, region, strict=True)):
        part = matrix[rows]
        cells = np.flatnonzero(part.any(axis=0))
        reach = slice(cells[0], cells[-1] + 1)
        used.append(part[:, reach])
        values = values[(slice(None),) * axis + (reach,)]
    to_x, to_y, to_z = used
    along_z = values.astype(np.float32) @ to_z.T
    return np.tensordot(to_x, np.matmul(to_y, along_z), (1, 0))


def _slabs(shape: tuple[int, ...], first: int = 0) -> Iterator[slice]:
    """Slices along the last axis that cut `shape` into slabs of bounded size."""
    step = max(1, SLAB_VOXELS // (shape[0] * shape[1]))
    for start in range(0, shape[2], step):
        yield slice(first + start, first + min(start + step, shape[2]))
