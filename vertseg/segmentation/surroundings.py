"""What lies around a labelled spine in the CT, on a grid of about 2 mm, and thresholds of bone."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.distances import depth_mm
from vertseg.core.parallel import in_threads

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Thresholds = tuple[float, float]
"""HU midway between soft tissue and a vertebra's bone, and a quarter of the way."""

STEP_MM = 2.0
"""Step of the grid on which distances and statistics are taken."""

SOFT_MM = (2.5, 5.0)
"""Distances outside the network's outline in which soft tissue is looked for."""

BONE_MM = (3.0, 6.0)
"""Depths below the outline of the layers in which bone is looked for; the brighter one counts,
since a wide outline leaves little bone in a thin layer."""

_LEAST_SOFT_HU = -50
_BONE_PERCENTILE = 60
_LEAST_CONTRAST_HU = 50
_LEAST_STEP_HU = 40
"""Least distance of a threshold from soft tissue, for its noise."""
_LEAST_SAMPLES = 30


@dataclass(frozen=True)
class Surroundings:
    """A spine and what lies around it, on a grid of about 2 mm.

    Attributes:
        box: voxels of the scan that the grid covers.
        stride: voxels between the grid's points.
        spacing: size of a voxel in mm.
        hu: attenuation (X, Y, Z).
        nearest_point: index (X, Y, Z) of the nearest labelled point in a flat grid.
        nearest: label (X, Y, Z) of that point.
        outside_mm: distance (X, Y, Z) to the outline of that label, below 0 inside.
        depth_mm: distance (X, Y, Z) to what has no label, 0 there.
    """

    box: Box
    stride: NDArray[np.integer]
    spacing: Floats
    hu: NDArray
    nearest_point: NDArray[np.integer]
    nearest: NDArray
    outside_mm: Floats
    depth_mm: Floats

    @classmethod
    def of(
        cls, ct: NDArray, mask: NDArray, box: Box, spacing: Floats, threads: int
    ) -> "Surroundings":
        """Those of labels in a box of a CT.

        Args:
            ct: HU (x, y, z).
            mask: labels (x, y, z) of vertebrae.
            box: voxels to look at, around all labels.
            spacing: size of a voxel in mm.
            threads: number of distance maps computed at a time.
        """
        stride = np.maximum(np.round(STEP_MM / spacing), 1).astype(int)
        steps = tuple(slice(None, None, int(step)) for step in stride)
        labels, hu = mask[box.slices][steps], ct[box.slices][steps]
        sampling = stride * spacing
        labelled = labels > 0
        (distance, indices), depth, to_nothing = in_threads(
            operator.call,
            [
                (ndimage.distance_transform_edt, ~labelled, sampling, True, True),
                (depth_mm, labelled & ~_at_another(labels), sampling),
                (depth_mm, labelled, sampling),
            ],
            threads,
        )
        nearest_point = np.ravel_multi_index(tuple(indices), labels.shape)
        half = sampling.min() / 2
        outside = np.where(labelled, half - depth, distance - half).astype(np.float32)
        depth = np.maximum(to_nothing - half, 0).astype(np.float32)
        nearest = labels.ravel()[nearest_point]
        return cls(box, stride, spacing, hu, nearest_point, nearest, outside, depth)

    def renamed(self, mask: NDArray) -> "Surroundings":
        """The same surroundings after voxels of a mask (x, y, z) went from one label to another."""
        steps = tuple(slice(None, None, int(step)) for step in self.stride)
        labels = mask[self.box.slices][steps]
        labelled, sampling = labels > 0, self.stride * self.spacing
        depth = depth_mm(labelled & ~_at_another(labels), sampling)
        outside = np.where(labelled, sampling.min() / 2 - depth, self.outside_mm)
        nearest = labels.ravel()[self.nearest_point]
        return replace(self, nearest=nearest, outside_mm=outside.astype(np.float32))

    def thresholds(self, labels: Iterable[int], threads: int) -> dict[int, Thresholds | None]:
        """`thresholds_of` some vertebrae, so many at a time."""
        each = list(labels)
        found = in_threads(self.thresholds_of, [(label,) for label in each], threads)
        return dict(zip(each, found, strict=True))

    def thresholds_of(self, label: int) -> Thresholds | None:
        """HU midway between soft tissue and a vertebra's bone, and a quarter of the way.

        Returns:
            None if bone and soft tissue hardly differ.
        """
        mine = self.nearest == label
        away = self.outside_mm
        soft = self.hu[mine & (away > SOFT_MM[0]) & (away <= SOFT_MM[1])]
        soft = soft[soft > _LEAST_SOFT_HU]
        bands = [self.hu[mine & (away <= 0) & (away > -depth)] for depth in BONE_MM]
        if min(map(len, [soft, *bands])) < _LEAST_SAMPLES:
            return None
        low = np.median(soft)
        high = max(np.percentile(bone, _BONE_PERCENTILE) for bone in bands)
        if high - low < _LEAST_CONTRAST_HU:
            return None
        step = float(high - low)
        return float(low) + step / 2, float(low) + max(step / 4, _LEAST_STEP_HU)

    def at_voxels(self, field: NDArray, region: Box) -> Floats:
        """A field (X, Y, Z) at the voxels of a region of the scan, by linear interpolation."""
        inner = region.inside(self.box)
        matrices, near = [], []
        for start, stop, stride, count in zip(
            inner.start, inner.stop, self.stride, field.shape, strict=True
        ):
            place = np.minimum(np.arange(start, stop) / stride, count - 1)
            first, last = int(place[0]), int(np.ceil(place[-1])) + 1
            away = np.abs(place[:, None] - np.arange(first, last))
            matrices.append(np.clip(1 - away, 0, None).astype(np.float32))
            near.append(slice(first, last))
        to_x, to_y, to_z = matrices
        part = field[tuple(near)].astype(np.float32)
        along_x = (to_x @ part.reshape(part.shape[0], -1)).reshape(-1, *part.shape[1:])
        return np.matmul(to_y, along_x) @ to_z.T


def _at_another(labels: NDArray) -> Mask:
    """Labelled points (X, Y, Z) beside one of another label."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        one = np.moveaxis(labels, axis, 0)
        touching = (one[1:] != one[:-1]) & (one[1:] > 0) & (one[:-1] > 0)
        there = np.moveaxis(found, axis, 0)
        there[1:] |= touching
        there[:-1] |= touching
    return found
