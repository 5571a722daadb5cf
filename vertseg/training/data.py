"""Cached scans in memory, and random augmented batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from torch import Tensor
from torch.nn import functional as F

from vertseg.anatomy.label_maps import label_boxes, leaves_out_sacrum
from vertseg.anatomy.labels import BACKGROUND, SACRUM
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import read_cache
from vertseg.segmentation.grid import AIR
from vertseg.training.augmentation import (
    composed,
    random_affines,
    random_densities,
    random_displacements,
    random_intensities,
    random_rotations,
    warp,
)
from vertseg.training.instances import body_centre_cells, moved_points, peak_widths
from vertseg.training.settings import TrainingSettings

VERTEBRA_SHARE = 0.85
"""Share of random crops placed around a voxel of a vertebra; the others lie anywhere."""


class Bodies(NamedTuple):
    """Vertebral bodies of a scan or, with a first axis more, of a batch.

    Attributes:
        centres: (C, 3) cells of each label's body centre, float32; NaN for absent ones.
        widths: (C,) SD in cells of its peak in the map of centres.
    """

    centres: Tensor
    widths: Tensor


class Batch(NamedTuple):
    """Augmented scans.

    Attributes:
        images: float32 (N, 1, X, Y, Z).
        labels: int64 (N, X, Y, Z).
        bodies: their vertebral bodies after the augmentation, if a network learns them.
    """

    images: Tensor
    labels: Tensor
    bodies: Bodies | None


@dataclass(frozen=True)
class LabelledScans:
    """Scans on the network's grid, in compact types on the CPU.

    Attributes:
        images: float16 (X, Y, Z) each.
        labels: uint8 (X, Y, Z) each.
        natives: geometry of each scan as stored.
        bodies: centres and peak widths of each scan's vertebrae, if a network learns them.
    """

    images: list[Tensor]
    labels: list[Tensor]
    natives: list[Geometry]
    bodies: list[Bodies] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, first: int) -> tuple["LabelledScans", "LabelledScans"]:
        """The first so many scans, and the rest."""
        one, other = (
            LabelledScans(
                self.images[part], self.labels[part], self.natives[part], self.bodies[part]
            )
            for part in (slice(first), slice(first, None))
        )
        return one, other

    def label_counts(self, num_classes: int) -> np.ndarray:
        """Voxels of every class, int64 (num_classes,)."""
        counts = np.zeros(num_classes, np.int64)
        for label in self.labels:
            counts += np.bincount(label.numpy().ravel(), minlength=num_classes)
        return counts

    def show(self, label: int) -> bool:
        """Whether any scan has a voxel of a label."""
        return any(bool((one == label).any()) for one in self.labels)

    def acquisition_range(self) -> dict[str, list[list[float]]]:
        """Smallest and largest voxel size and extent of the scans along x, y and z, in mm."""
        spacing_mm = np.array([voxel_sizes(native.canonical_affine) for native in self.natives])
        extent_mm = spacing_mm * [native.canonical_shape for native in self.natives]
        return {
            name: np.round([values.min(axis=0), values.max(axis=0)], 2).tolist()
            for name, values in (("spacing_mm", spacing_mm), ("extent_mm", extent_mm))
        }


def load_scans(
    paths: Sequence[Path], num_classes: int, one_shape: bool, with_centres: bool = False
) -> LabelledScans:
    """Load labelled cached scans, one or more.

    The sacrum is one thing in all of them: if some label it and others leave it out where it is in
    view, it becomes background, with a warning.

    Args:
        paths: the caches.
        num_classes: number of the network's classes.
        one_shape: require grids of the same shape, for batches of whole scans.
        with_centres: find the centres of the vertebral bodies, for networks that learn them.

    Raises:
        UserError: a file is unreadable or unlabelled, differs from the first in shape where
            `one_shape` forbids it, or has a label value without a class of the network.
    """
    scans = LabelledScans([], [], [])
    without_sacrum: list[str] = []
    for path in paths:
        scan = read_cache(path)
        if scan.label is None:
            raise UserError(f"{path}: has no label map, so a network cannot learn from it.")
        if one_shape and scans.images and scan.image.shape != scans.images[0].shape:
            raise UserError(
                f"{path}: its grid is {scan.image.shape}, but the grid of {paths[0]} is "
                f"{tuple(scans.images[0].shape)}. Delete the older file and run again, or set "
                "training.crop if grids differ on purpose."
            )
        if scan.label.max() >= num_classes:
            raise UserError(
                f"{path}: has the label {scan.label.max()}, but the network has {num_classes} "
                f"classes (0 to {num_classes - 1})."
            )
        scans.images.append(torch.from_numpy(scan.image))
        scans.labels.append(torch.from_numpy(scan.label))
        scans.natives.append(scan.transform.native)
        if leaves_out_sacrum(label_boxes(scan.label), float(scan.transform.cell_mm[2])):
            without_sacrum.append(path.stem)
        if with_centres:
            scans.bodies.append(_bodies(scan.label, num_classes))
    if without_sacrum and scans.show(SACRUM):
        logger.warning(
            "The sacrum is learned as background: %s show it without a label, others label it.",
            ", ".join(without_sacrum),
        )
        for label in scans.labels:
            label[label == SACRUM] = BACKGROUND
    return scans


def _bodies(label: np.ndarray, num_classes: int) -> Bodies:
    centres = body_centre_cells(label, num_classes)
    return Bodies(torch.from_numpy(centres), torch.from_numpy(peak_widths(label, centres)))


def random_batch(
    scans: LabelledScans,
    settings: TrainingSettings,
    rng: np.random.Generator,
    device: torch.device,
) -> Batch:
    """Random batch of different scans, whole or cropped, augmented on the device."""
    chosen = rng.choice(len(scans), settings.batch_size, replace=False)
    affines = random_affines(rng, settings.batch_size, settings.affine_strength, settings.flips)
    crops = [(scans.images[index], scans.labels[index], np.zeros(3, int)) for index in chosen]
    if settings.crop:
        crops = [random_crop(image, label, settings.crop, rng) for image, label, _ in crops]
    images, labels = (
        torch.stack(part).to(device)
        for part in zip(*((image, label) for image, label, _ in crops), strict=True)
    )
    size = labels.shape[1:]
    if settings.rotation_deg:
        turns = random_rotations(rng, settings.batch_size, size, settings.rotation_deg)
        affines = composed(affines, turns)
    displacements = None
    if settings.elastic_strength:
        displacements = random_displacements(
            rng, settings.batch_size, size, settings.elastic_strength, device
        )
    warped, targets = warp(images[:, None].float(), labels, affines, displacements)
    if settings.density_strength:
        warped = random_densities(rng, warped, targets, settings.density_strength)
    if settings.intensity_strength:
        warped = random_intensities(rng, warped, settings.intensity_strength)
    if not settings.auxiliary:
        return Batch(warped, targets, None)
    bodies = [scans.bodies[index] for index in chosen]
    corners = torch.from_numpy(np.stack([start for _, _, start in crops])).float()
    centres = torch.stack([one.centres for one in bodies]) - corners[:, None]
    moved = moved_points(centres.to(device), affines, size, displacements)
    return Batch(
        warped, targets, Bodies(moved, torch.stack([one.widths for one in bodies]).to(device))
    )


def padded(scan: Tensor, outside: float, smallest: Sequence[int] | None) -> Tensor:
    """A scan (X, Y, Z) with the value `outside` appended to axes shorter than `smallest`."""
    if smallest is None:
        return scan
    missing = [max(n - size, 0) for n, size in zip(smallest, scan.shape, strict=True)]
    return F.pad(scan, [side for n in reversed(missing) for side in (0, n)], value=outside)


def random_crop(
    image: Tensor, label: Tensor, size: Sequence[int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Random crop of a scan (X, Y, Z), surrounded by air along axes where the scan is smaller.

    Most crops have a random voxel of a vertebra in their middle half (`VERTEBRA_SHARE`).

    Returns:
        The image, the label map, and the voxel (3,) of the scan where they start.
    """
    if label.any() and rng.random() < VERTEBRA_SHARE:
        anchor = _random_labelled_cell(label.numpy(), rng)
        start = anchor - np.floor(np.array(size) * rng.uniform(0.25, 0.75, 3)).astype(int)
    else:
        start = rng.integers(np.array(label.shape))
    room = np.array(label.shape) - size
    # A scan shorter than the crop lies anywhere within it.
    shorter = rng.integers(np.minimum(room, 0), 1)
    start = np.where(room < 0, shorter, np.clip(start, 0, np.maximum(room, 0)))
    return _cut(image, start, size, AIR), _cut(label, start, size, BACKGROUND), start


def _random_labelled_cell(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices (3,) of a random labelled cell, found in a few draws without a list of all."""
    while True:
        cells = rng.integers(label.shape, size=(256, 3))
        labelled = cells[label[tuple(cells.T)] > 0]
        if len(labelled):
            return labelled[0]


def _cut(scan: Tensor, start: np.ndarray, size: Sequence[int], outside: float) -> Tensor:
    """The part of a scan (X, Y, Z) from `start`, filled up with `outside` beyond the scan."""
    result = scan.new_full(list(size), outside)
    source = [slice(max(a, 0), a + n) for a, n in zip(start.tolist(), size, strict=True)]
    part = scan[source[0], source[1], source[2]]
    target = [
        slice(max(-a, 0), max(-a, 0) + n) for a, n in zip(start.tolist(), part.shape, strict=True)
    ]
    result[target[0], target[1], target[2]] = part
    return result
