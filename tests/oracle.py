"""A network whose answer is known."""

import numpy as np
import torch
from torch.nn import functional as F

from vertseg.phantom import Phantom
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.grid import GridTransform, grid_shape
from vertseg.segmentation.model import Model

SPACING_MM = 3.0
RANGE = {"spacing_mm": [[0.8, 0.8, 1.5], [1.5, 1.5, 3.0]],
         "extent_mm": [[80, 90, 150], [420, 420, 900]]}  # fmt: skip


def trained(crop: list[int] | None = None, num_classes: int = 29) -> dict:
    return {
        "settings": {"grid": {"spacing_mm": SPACING_MM}, "crop": crop},
        "num_classes": num_classes,
        "training_range": RANGE,
    }


def oracle(phantom: Phantom) -> Model:
    """A network that knows the phantom."""
    native = Geometry(phantom.ct.shape, phantom.affine)
    shape = grid_shape({"spacing_mm": SPACING_MM}, native)
    label = torch.from_numpy(GridTransform(shape, native).encode_labels(phantom.mask))

    def forward(images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 1, *shape)
        return (8 * F.one_hot(label.long(), 29).movedim(-1, 0).float()).numpy()

    return Model("oracle", "0" * 64, "torch", trained(), forward)


def sees_l1() -> Model:
    """A network that sees L1 in the middle of every image."""

    def forward(images: np.ndarray) -> np.ndarray:
        scores = np.zeros((29, *images.shape[2:]), np.float32)
        middle = tuple(slice(size // 2 - 3, size // 2 + 3) for size in images.shape[2:])
        scores[0] = 5
        scores[(20, *middle)] = 10
        return scores

    return Model("l1", "0" * 64, "torch", trained(), forward)


def sees_nothing() -> Model:
    """A network for which everything is background."""

    def forward(images: np.ndarray) -> np.ndarray:
        scores = np.zeros((29, *images.shape[2:]), np.float32)
        scores[0] = 5
        return scores

    return Model("nothing", "0" * 64, "torch", trained(), forward)


def volume_of(phantom: Phantom) -> Volume:
    """A phantom's CT."""
    return Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
