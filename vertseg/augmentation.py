"""Random affine maps (and flips) of a batch of images with their label maps, random gray values."""

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


def random_intensities(rng: np.random.Generator, image: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness, sharpness and noise of each image at random.

    Gray values in [-1, 1] are blurred (every second image, by a Gaussian of up to 1 voxel), mapped
    by a power between 1/1.5 and 1.5, scaled by 1 +- 0.2, shifted by +- 0.15 and get noise of SD up
    to 0.12; then they are clipped to [-1, 1] again.

    Args:
        rng: numpy generator, the only source of randomness.
        image: (N, 1, X, Y, Z) in [-1, 1], float32.
        strength: scales all of the above, from 0 (no change).
    """
    count = len(image)

    def draw(low: float, high: float) -> Tensor:
        values = rng.uniform(low, high, (count, 1, 1, 1, 1)).astype(np.float32)
        return torch.from_numpy(values).to(image.device)

    blurred = _blur(image, draw(-strength, strength).clamp_min(0))
    power = 1.5 ** draw(-strength, strength)
    changed = ((blurred + 1) / 2).clamp(0, 1) ** power * 2 - 1
    changed = changed * (1 + 0.2 * draw(-strength, strength)) + 0.15 * draw(-strength, strength)
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, 0.12 * strength)
    return (changed + torch.from_numpy(noise).to(image.device)).clamp(AIR, 1)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images (N, 1, X, Y, Z) by SDs (N, 1, 1, 1, 1) of up to a voxel."""
    offsets = torch.arange(-2, 3, device=image.device, dtype=image.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma.view(-1, 1) ** 2 + 1e-6))
    weights = weights / weights.sum(1, keepdim=True)
    result = image.transpose(0, 1)
    for axis in range(3):
        kernel = weights.view(-1, 1, *(5 if a == axis else 1 for a in range(3)))
        padding = [part for a in (2, 1, 0) for part in ((2, 2) if a == axis else (0, 0))]
        padded = F.pad(result, padding, mode="replicate")
        result = F.conv3d(padded, kernel, groups=len(image))
    return result.transpose(0, 1)
