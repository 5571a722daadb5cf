"""Random affine maps (and flips) of a batch of images with their label maps."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vertseg.grid import AIR


def random_affines(
    rng: np.random.Generator, batch_size: int, strength: float, flips: bool = False
) -> Tensor:
    """Affine matrices from output to input, in `affine_grid`'s coordinates, float32 (N, 3, 4).

    Identity plus Gaussian noise on all 12 entries, as in the authors' notebook
    (patch_deeplab_verse.ipynb), where the SD is 0.07. Coordinates run from -1 to 1 along every
    axis, so on a long grid a shear is larger in voxels along the long axis.

    Args:
        rng: numpy generator, the only source of randomness.
        batch_size: number of matrices N.
        strength: SD of the noise.
        flips: mirror each axis of the output with probability 1/2, the paper's destabilising
            variant.
    """
    matrices = np.eye(3, 4) + strength * rng.standard_normal((batch_size, 3, 4))
    if flips:
        signs = rng.choice([-1.0, 1.0], (batch_size, 1, 3))
        matrices[:, :, :3] *= signs
    return torch.from_numpy(matrices.astype(np.float32))


def warp(image: Tensor, label: Tensor, affines: Tensor) -> tuple[Tensor, Tensor]:
    """Resample images (bilinear) and label maps (nearest); outside is air and background.

    Args:
        image: (N, 1, X, Y, Z) in [-1, 1], floating.
        label: (N, X, Y, Z), any integer type.
        affines: (N, 3, 4), see `random_affines`.

    Returns:
        image in its type and label as int64, same shapes.
    """
    points = F.affine_grid(affines.to(image), list(image.shape), align_corners=False)
    warped = F.grid_sample(image - AIR, points, mode="bilinear", align_corners=False) + AIR
    channel = label.unsqueeze(1).to(points.dtype)
    nearest = F.grid_sample(channel, points, mode="nearest", align_corners=False)
    return warped, nearest.squeeze(1).to(torch.int64)
