"""Tissues of known attenuation, found in a scan without their own labels.

They lie where anatomy puts them relative to the vertebrae, and their HU is the mode of quiet
places: organs beside them, streaks of fat in muscle and noise move a mean, but hardly a mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.distances import depth_mm
from vertseg.anatomy.label_maps import labelled_box
from vertseg.anatomy.labels import NAMES
from vertseg.scans.volumes import AIR_HU, Volume
from vertseg.screening.frames import Floats

Tissue = Literal["air", "fat", "muscle", "blood"]

_GRID_MM = 2.5
_SMOOTHING_MM = 3.0
_QUIET = 0.25
"""Share of the candidates that lie furthest from edges and count."""
_LEAST_ML = 8.0
"""Smallest volume of quiet places of a tissue."""
_BIN_HU = 2.0
_AROUND_MODE_HU = 12.0

_RANGES_HU = {"air": (-1050, -900), "fat": (-170, -50), "muscle": (5, 110)}
_LEAST_DENSE_HU = -300
"""Smallest HU of the patient and what touches him."""
_SKIN_MM = 40.0
_AROUND_SPINE_MM = (4.0, 60.0)
_BEFORE_MASS_MM = 25.0
"""Front of the region of muscle, from the vertebrae's centres of mass, which lie behind bodies."""

_AORTIC_LEVELS = frozenset({"T9", "T10", "T11", "T12", "L1", "L2", "L3"})
_AORTA_MM = ((-45.0, 12.0), (36.0, 78.0))
"""Window of the aorta to the right of and before a vertebra's centre of mass."""
_VESSEL_MM = 6.0
_RING_MM = (14.0, 20.0)
_ALIKE_HU = 15.0


@dataclass(frozen=True)
class FoundTissue:
    """A reference in a scan.

    Attributes:
        tissue: kind of tissue.
        place: where it was found, in words.
        hu: mode of its quiet places.
        volume_ml: their volume.
    """

    tissue: Tissue
    place: str
    hu: float
    volume_ml: float


def find_references(ct: Volume, mask: NDArray) -> list[FoundTissue]:
    """Air outside the patient, fat, muscle beside the spine, and blood in the aorta.

    Args:
        ct: HU, in canonical axes.
        mask: label map (x, y, z) of the vertebrae on the CT's grid.

    Returns:
        Those that were found.
    """
    stride = np.maximum(np.round(_GRID_MM / ct.spacing_mm), 1).astype(int)
    thinned = tuple(slice(None, None, step) for step in stride)
    hu, bones = ct.array[thinned].astype(np.float32), mask[thinned]
    step_mm = ct.spacing_mm * stride
    masses = _centres_of_mass(bones)
    if not masses:
        return []
    places = _Places(hu, bones, step_mm, masses)
    found = [places.air(), places.fat(), places.muscle(), places.blood()]
    return [one for one in found if one is not None]


class _Places:
    """Smoothed values of a scan on a coarse grid, and the regions of tissues in it."""

    def __init__(
        self, hu: NDArray, bones: NDArray, step_mm: Floats, masses: Mapping[str, Floats]
    ) -> None:
        self.step_mm, self.masses = step_mm, masses
        # Noise takes single voxels of air below the padding's value; padding reaches far.
        padding = hu <= AIR_HU
        core = ndimage.binary_erosion(padding, border_value=1)
        self.scanned = ~ndimage.binary_dilation(core, iterations=-1, mask=padding)
        sigma = _SMOOTHING_MM / step_mm
        share = ndimage.gaussian_filter(self.scanned.astype(np.float32), sigma)
        smoothed = ndimage.gaussian_filter(np.where(self.scanned, hu, 0), sigma)
        self.hu = smoothed / np.maximum(share, 0.01)
        self.whole = share > 0.98
        self.edge = np.sqrt(
            sum(np.square(np.gradient(self.hu, step, axis=a)) for a, step in enumerate(step_mm))
        )
        self.bones = bones > 0
        self.outside = self._outside()

    def air(self) -> FoundTissue | None:
        if not self.outside.any():
            return None
        inner = ndimage.binary_erosion(self.outside, iterations=2)
        return self._tissue("air", "outside the patient", inner)

    def fat(self) -> FoundTissue | None:
        if self.outside.any():
            to_skin_mm = depth_mm(~self.outside, self.step_mm)
            under_skin = self._tissue("fat", "under the skin", to_skin_mm < _SKIN_MM)
            if under_skin:
                return under_skin
        return self._tissue("fat", "around the spine", self.to_bone_mm > _AROUND_SPINE_MM[0])

    def muscle(self) -> FoundTissue | None:
        points = np.array(sorted(self.masses.values(), key=lambda point: point[2]))
        z = np.arange(self.hu.shape[2])
        middle_x, middle_y = (np.interp(z, points[:, 2], points[:, axis]) for axis in (0, 1))
        x, y = (np.arange(count)[:, None] for count in self.hu.shape[:2])
        beside = np.abs(x - middle_x) * self.step_mm[0] < _AROUND_SPINE_MM[1]
        behind = (y - middle_y) * self.step_mm[1] < _BEFORE_MASS_MM
        near, far = _AROUND_SPINE_MM
        around = (self.to_bone_mm > near) & (self.to_bone_mm < far)
        return self._tissue(
            "muscle", "beside the spine", around & beside[:, None] & behind[None, :]
        )

    @cached_property
    def to_bone_mm(self) -> Floats:
        """Distance (x, y, z) to the vertebrae; infinite beyond the reach of any region."""
        margin = np.ceil(_AROUND_SPINE_MM[1] / self.step_mm).astype(int)
        whole = labelled_box(self.bones.view(np.uint8))
        assert whole is not None
        near = whole.widened(margin, self.bones.shape).slices
        distance = np.full(self.bones.shape, np.inf)
        distance[near] = depth_mm(~self.bones[near], self.step_mm)
        return distance

    def blood(self) -> FoundTissue | None:
        """Blood, if two levels at least show a round, even structure of one HU amid darker fat."""
        vessels = [
            vessel
            for name, point in self.masses.items()
            if name in _AORTIC_LEVELS and (vessel := self._vessel(point)) is not None
        ]
        if len(vessels) < 2:
            return None
        median = float(np.median(vessels))
        alike = [hu for hu in vessels if abs(hu - median) < _ALIKE_HU]
        if len(alike) < 2 or len(alike) < len(vessels) / 2:
            return None
        volume_ml = len(alike) * 4 / 3 * np.pi * _VESSEL_MM**3 / 1000
        return FoundTissue("blood", "in the aorta", round(median, 1), round(volume_ml, 1))

    def _vessel(self, point: Floats) -> float | None:
        """HU at the middle of the most even cube in the aorta's window, if it stands out."""
        bounds = []
        for axis, (low, high) in enumerate((*_AORTA_MM, (-8.0, 8.0))):
            edges = np.round(point[axis] + np.array([low, high]) / self.step_mm[axis]).astype(int)
            bounds.append(slice(max(edges[0], 0), max(edges[1], 0)))
        window, whole = self.hu[tuple(bounds)], self.whole[tuple(bounds)]
        reach = np.ceil(_RING_MM[1] / self.step_mm[:2]).astype(int)
        if min(window.shape) < 3 or min(window.shape[:2] - reach) < 3 or not whole.all():
            return None
        cube = np.maximum(np.round(2 * _VESSEL_MM / self.step_mm), 1).astype(int)
        mean = ndimage.uniform_filter(window, cube)
        square = ndimage.uniform_filter(window**2, cube)
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        spread[(mean < 20) | (mean > 600)] = np.inf
        place = np.unravel_index(int(np.argmin(spread)), spread.shape)
        if not np.isfinite(spread[place]):
            return None
        x, y = (
            (np.arange(count) - centre)[shape] * step
            for count, centre, step, shape in zip(
                window.shape, place, self.step_mm, (np.s_[:, None], np.s_[None, :]), strict=False
            )
        )
        distance = np.hypot(x, y)
        ring = window[:, :, place[2]][(distance > _RING_MM[0]) & (distance < _RING_MM[1])]
        darker = (ring < mean[place] - 40).mean() if len(ring) else 0
        return float(np.median(window[place[0], place[1]])) if darker > 0.4 else None

    def _outside(self) -> NDArray[np.bool_]:
        """Air that reaches the sides of the array."""
        empty = self.whole & (self.hu < _LEAST_DENSE_HU)
        parts, _ = ndimage.label(empty)
        sides = (parts[0], parts[-1], parts[:, 0], parts[:, -1])
        labels = np.unique(np.concatenate([side.ravel() for side in sides]))
        return np.isin(parts, labels[labels > 0])

    def _tissue(self, tissue: Tissue, place: str, region: NDArray[np.bool_]) -> FoundTissue | None:
        low, high = _RANGES_HU[tissue]
        candidates = region & self.whole & (self.hu > low) & (self.hu < high)
        if not candidates.any():
            return None
        values, edge = self.hu[candidates], self.edge[candidates]
        quiet = values[edge <= np.quantile(edge, _QUIET)]
        volume_ml = len(quiet) * float(self.step_mm.prod()) / 1000
        if volume_ml < _LEAST_ML:
            return None
        counts, edges = np.histogram(quiet, np.arange(low, high + _BIN_HU, _BIN_HU))
        smooth = ndimage.gaussian_filter1d(counts.astype(float), 2.5)
        mode = edges[int(np.argmax(smooth))] + _BIN_HU / 2
        around = quiet[np.abs(quiet - mode) < _AROUND_MODE_HU]
        return FoundTissue(tissue, place, round(float(around.mean()), 1), round(volume_ml, 1))


def _centres_of_mass(bones: NDArray) -> dict[str, Floats]:
    """Centre of mass (3,) in voxels of each vertebra, by name."""
    points = np.argwhere(bones)
    labels = bones[tuple(points.T)]
    counts = np.bincount(labels)
    sums = np.stack([np.bincount(labels, axis) for axis in points.T], axis=1)
    return {
        NAMES[label]: sums[label] / counts[label]
        for label in np.flatnonzero(counts).tolist()
        if label in NAMES
    }
