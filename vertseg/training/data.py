"""Cached scans in memory, and random augmented batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vertseg.augmentation import random_affines, warp
from vertseg.cache import read_cache
from vertseg.errors import UserError
from vertseg.grid import GridShape
from vertseg.training.settings import TrainingSettings


@dataclass(frozen=True)
class LabelledScans:
    """Scans on one grid, compact, on the CPU.

    Attributes:
        images: float16 (scans, 1, X, Y, Z).
        labels: uint8 (scans, X, Y, Z).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def grid(self) -> GridShape:
        """Cells (X, Y, Z)."""
        x, y, z = self.labels.shape[1:]
        return x, y, z

    def split(self, first: int) -> tuple["LabelledScans", "LabelledScans"]:
        """The first scans, and the rest."""
        return (
            LabelledScans(self.images[:first], self.labels[:first]),
            LabelledScans(self.images[first:], self.labels[first:]),
        )

    def label_counts(self, num_classes: int) -> np.ndarray:
        """Voxels of every class, int64 (num_classes,)."""
        counts = np.zeros(num_classes, np.int64)
        for label in self.labels.numpy():
            counts += np.bincount(label.ravel(), minlength=num_classes)
        return counts


def load_scans(paths: Sequence[Path], num_classes: int) -> LabelledScans:
    """Load cached scans, one or more, which must all be labelled and on the same grid.

    Raises:
        UserError: a file is unreadable, unlabelled, on another grid than the first, or has label
            values that the network has no class for.
    """
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for path in paths:
        scan = read_cache(path)
        if scan.label is None:
            raise UserError(f"{path}: has no label map, so nothing can be learnt from it.")
        if images and scan.image.shape != images[0].shape:
            raise UserError(
                f"{path}: its grid is {scan.image.shape}, but that of {paths[0]} is "
                f"{images[0].shape}. Delete the older file and run again."
            )
        if scan.label.max() >= num_classes:
            raise UserError(
                f"{path}: has the label {scan.label.max()}, but the network has {num_classes} "
                f"classes (0 to {num_classes - 1})."
            )
        images.append(scan.image)
        labels.append(scan.label)
    return LabelledScans(
        torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(labels))
    )


def random_batch(
    scans: LabelledScans,
    settings: TrainingSettings,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Different scans drawn at random and augmented on the device.

    Returns:
        images float32 (N, 1, X, Y, Z) and labels int64 (N, X, Y, Z).
    """
    chosen = torch.from_numpy(rng.choice(len(scans), settings.batch_size, replace=False))
    affines = random_affines(rng, settings.batch_size, settings.affine_strength, settings.flips)
    images = scans.images[chosen].to(device, torch.float32)
    return warp(images, scans.labels[chosen].to(device), affines)
