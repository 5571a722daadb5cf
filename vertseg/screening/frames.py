"""Vertebrae in their scan, their own axes, and the scan resampled along them.

Scans show vertebrae tilted and turned; heights and walls mean something only along the vertebra's
own right, anterior and superior directions.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.centroids import BODY_DEPTH
from vertseg.anatomy.label_maps import label_boxes
from vertseg.scans.volumes import Volume

Floats = NDArray[np.floating]

NEIGHBOUR_MM = 80.0
"""Largest distance of neighbouring body centres; further apart, a level between them is missing."""

LOWER_MM = np.array([-33.0, -28.0, -23.0])
UPPER_MM = np.array([33.0, 27.0, 23.0])
"""Corners of a box about the body's centre that holds any body and part of its canal."""

_LEAST_ML = 1.0
"""Smallest labelled volume of a vertebra with a frame."""
_CORE_GRID_MM = 2.0
_CROP_MARGIN_MM = 12.0


@dataclass(frozen=True)
class LabelledVertebra:
    """One vertebra in a CT and its label map.

    Attributes:
        ct: HU.
        mask: label map (x, y, z) on the CT's grid.
        label: value of the vertebra in the mask.
        box: smallest box around that value.
    """

    ct: Volume
    mask: NDArray
    label: int
    box: Box

    def inside(self, box: Box) -> NDArray[np.bool_]:
        """Voxels of the vertebra within a box of the scan."""
        return np.ascontiguousarray(self.mask[box.slices] == self.label)


@dataclass(frozen=True)
class VertebraFrame:
    """A vertebra's coordinate system in world space.

    Attributes:
        origin: (3,) point near the body's centre in world mm.
        axes: (3, 3) right, anterior and superior unit vectors of the vertebra as columns.
    """

    origin: Floats
    axes: Floats

    def moved(self, offset_mm: Floats, superior: Floats) -> "VertebraFrame":
        """The frame with its origin at a local offset and its superior axis along a local vector.

        The anterior axis stays in its plane with the superior one.
        """
        origin = self.origin + self.axes @ offset_mm
        return VertebraFrame(origin, upright_axes(self.axes @ superior, self.axes[:, 1]))


@dataclass(frozen=True)
class LocalVolume:
    """One vertebra and its CT on a grid along the vertebra's axes.

    Attributes:
        frame: the vertebra's axes.
        step_mm: edge of the cubic voxels.
        lower_mm: (3,) local coordinates of the first voxel's centre.
        occupancy: share of the vertebra in each voxel, 0 to 1, (right, anterior, superior).
        hu: attenuation, same shape; NaN beyond the scan and far from the vertebra.
    """

    frame: VertebraFrame
    step_mm: float
    lower_mm: Floats
    occupancy: NDArray[np.float32]
    hu: NDArray[np.float32]

    def coordinates(self, axis: int) -> Floats:
        """Local coordinates in mm of the voxels along an axis."""
        return self.lower_mm[axis] + self.step_mm * np.arange(self.occupancy.shape[axis])


def upright_axes(superior: Floats, anterior: Floats) -> Floats:
    """Right-handed orthonormal axes (3, 3) from a superior and a roughly anterior direction."""
    up = superior / np.linalg.norm(superior)
    forward = anterior - up * (anterior @ up)
    forward /= np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up], axis=1)


def first_frames(mask: NDArray, affine: Floats, boxes: dict[int, Box]) -> dict[int, VertebraFrame]:
    """First estimates of the vertebrae's frames, from the mask alone; end-plates refine them later.

    Up is the direction between the neighbouring body centres, forward that from the whole
    vertebra's centre of mass to its body, whose core is where the vertebra is thickest.

    Args:
        mask: label map (x, y, z).
        affine: voxel to RAS+ mm.
        boxes: smallest box around each label.

    Returns:
        Frames by label; labels of less than 1 ml have none and count as nobody's neighbour.
    """
    bodies, masses = {}, {}
    least_voxels = 1000 * _LEAST_ML / voxel_sizes(affine).prod()
    for label, box in boxes.items():
        if np.count_nonzero(mask[box.slices] == label) >= least_voxels:
            bodies[label], masses[label] = _core_and_mass(mask, label, box, affine)
    return {
        label: VertebraFrame(centre, upright_axes(up, _forward(centre - masses[label], up, affine)))
        for (label, centre), up in zip(bodies.items(), _upwards(bodies.values()), strict=True)
    }


def resample(
    vertebra: LabelledVertebra,
    frame: VertebraFrame,
    step_mm: float,
    lower_mm: Floats = LOWER_MM,
    upper_mm: Floats = UPPER_MM,
) -> LocalVolume:
    """Interpolate a vertebra and its surroundings linearly onto a grid along a frame.

    Args:
        vertebra: the vertebra in its scan.
        frame: axes of the grid.
        step_mm: edge of the grid's voxels.
        lower_mm: (3,) local coordinates of the first voxel.
        upper_mm: (3,) upper limits of the last voxel's local coordinates.
    """
    ct = vertebra.ct
    margin = np.ceil(_CROP_MARGIN_MM / ct.spacing_mm).astype(int)
    crop = vertebra.box.widened(margin, ct.array.shape)
    shape = np.floor((upper_mm - lower_mm) / step_mm).astype(int) + 1
    to_voxel = np.linalg.inv(ct.affine)
    matrix = to_voxel[:3, :3] @ frame.axes * step_mm
    first = apply_affine(to_voxel, frame.origin + frame.axes @ lower_mm) - crop.start

    def sampled(array: NDArray, outside: float) -> NDArray[np.float32]:
        return ndimage.affine_transform(
            array.astype(np.float32),
            matrix,
            first,
            output_shape=tuple(shape),
            order=1,
            mode="constant",
            cval=outside,
        )

    return LocalVolume(
        frame,
        step_mm,
        lower_mm,
        occupancy=sampled(vertebra.inside(crop), 0),
        hu=sampled(ct.array[crop.slices], np.nan),
    )


def box_around(solid: NDArray[np.bool_]) -> Box:
    """The smallest box around the voxels of an array (x, y, z) that has some."""
    return label_boxes(solid.view(np.uint8))[1]


def largest_part(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected part with the most voxels."""
    parts, count = ndimage.label(solid)
    if count < 2:
        return solid
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _core_and_mass(mask: NDArray, label: int, box: Box, affine: Floats) -> tuple[Floats, Floats]:
    """Centre of the body's core and of the whole vertebra in world mm, on a grid of about 2 mm."""
    spacing = voxel_sizes(affine)
    stride = np.maximum(np.round(_CORE_GRID_MM / spacing), 1).astype(int)
    thinned = mask[box.slices][:: stride[0], :: stride[1], :: stride[2]]
    inside = np.pad(thinned == label, 1)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing * stride)
    points = (
        np.argwhere(largest_part(depth >= BODY_DEPTH * depth.max())),
        np.argwhere(inside),
    )
    core, mass = (
        apply_affine(affine, (part.mean(axis=0) - 1) * stride + box.start) for part in points
    )
    return core, mass


def _upwards(centres: Iterable[Floats]) -> list[Floats]:
    """Direction of the spine at each body centre, from the centres below and above it."""
    points = np.array(list(centres)).reshape(-1, 3)
    order = np.argsort(points[:, 2])
    directions = [np.array([0.0, 0.0, 1.0])] * len(points)
    for place, index in enumerate(order):
        near = [
            other
            for other in order[max(place - 1, 0) : place + 2]
            if np.linalg.norm(points[other] - points[index]) < NEIGHBOUR_MM
        ]
        if len(near) > 1:
            directions[index] = points[near[-1]] - points[near[0]]
    return directions


def _forward(guess: Floats, up: Floats, affine: Floats) -> Floats:
    """The guessed direction, or the scan's anterior direction if the guess is along the spine."""
    along = up / np.linalg.norm(up)
    if np.linalg.norm(guess - along * (guess @ along)) > 2:
        return guess
    return affine[:3, 1] / np.linalg.norm(affine[:3, 1])
