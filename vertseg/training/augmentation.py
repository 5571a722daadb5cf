"""Random augmentation: affine maps, displacements and flips of scans; gray values of images."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from vertseg.segmentation.grid import AIR

NODE_DISTANCE = 12
"""Voxels between the nodes of a random displacement: about a vertebra's height at 2.5 mm."""

BONE = (0.35, 0.5)
"""Range of the lower limit of bone, as a share of the window: 75 to 300 HU."""

AIR_TOLERANCE = 0.02
"""Largest difference from air, in a normalised image, of a voxel that stays as it is."""

FATTY_MARROW = -0.48
"""Gray value of fatty marrow in a normalised image: -60 HU."""

BLUR_REACH = 2
"""Voxels that a blur reads on each side."""


def random_affines(
    rng: np.random.Generator, batch_size: int, strength: float, flips: bool = False
) -> Tensor:
    """Affine maps from output to input, in `affine_grid`'s coordinates, float32 (N, 3, 4).

    Identity plus Gaussian noise on all 12 entries, as in the authors' notebook
    (patch_deeplab_verse.ipynb), where the SD is 0.07. Coordinates run from -1 to 1 along every
    axis, so that on a long grid a shear moves more voxels along the long axis.

    Args:
        rng: numpy generator, the only source of randomness.
        batch_size: number of matrices N.
        strength: SD of the noise.
        flips: mirror each axis with probability 1/2 (the paper's variant with flips).
    """
    matrices = np.eye(3, 4) + strength * rng.standard_normal((batch_size, 3, 4))
    if flips:
        signs = rng.choice([-1.0, 1.0], (batch_size, 1, 3))
        matrices[:, :, :3] *= signs
    return torch.from_numpy(matrices.astype(np.float32))


def random_rotations(
    rng: np.random.Generator, batch_size: int, size: Sequence[int], deviation_deg: float
) -> Tensor:
    """Rotations about the middle, from output to input in `affine_grid`'s coordinates, (N, 3, 4).

    Pitch, about the left-right axis, varies most, as lordosis and kyphosis tilt vertebrae in that
    direction; the SD of the two other angles is half of its SD. Cells are taken to be cubic.

    Args:
        rng: numpy generator, the only source of randomness.
        batch_size: number of matrices N.
        size: cells (X, Y, Z) of the grid.
        deviation_deg: SD of the pitch in degrees.
    """
    angles = np.deg2rad(deviation_deg) * rng.standard_normal((batch_size, 3)) * (1, 0.5, 0.5)
    turns = Rotation.from_euler("xyz", angles).as_matrix()
    lengths = np.array(size, float)
    # Coordinates run from -1 to 1 along every axis, in the order z, y, x.
    scaled = turns * (lengths / lengths[:, None])
    matrices = np.zeros((batch_size, 3, 4), np.float32)
    matrices[:, :, :3] = scaled[:, ::-1, ::-1]
    return torch.from_numpy(matrices)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Affine maps (N, 3, 4) that apply `first` and then `second` to a point."""
    linear = second[:, :, :3] @ first[:, :, :3]
    shift = second[:, :, :3] @ first[:, :, 3:] + second[:, :, 3:]
    return torch.cat([linear, shift], 2)


def random_displacements(
    rng: np.random.Generator,
    batch_size: int,
    size: Sequence[int],
    strength: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Smooth displacements in voxels, float32 (N, 3, X, Y, Z), components along x, y and z.

    Gaussian noise at nodes `NODE_DISTANCE` apart, interpolated linearly.

    Args:
        rng: numpy generator, the only source of randomness.
        batch_size: number of fields N.
        size: cells (X, Y, Z) of the grid.
        strength: SD of the noise in voxels.
        device: device of the result.
    """
    nodes = [2 + n // NODE_DISTANCE for n in size]
    noise = rng.standard_normal((batch_size, 3, *nodes), np.float32) * np.float32(strength)
    at_nodes = torch.from_numpy(noise).to(device)
    return F.interpolate(at_nodes, list(size), mode="trilinear", align_corners=True)


def warp(
    image: Tensor, label: Tensor, affines: Tensor, displacements: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Resample images (trilinear) and label maps (nearest), with air and background outside.

    Args:
        image: (N, 1, X, Y, Z) in [-1, 1], floating.
        label: (N, X, Y, Z), any integer type.
        affines: (N, 3, 4), see `random_affines`.
        displacements: (N, 3, X, Y, Z) in voxels, added to the points that the affine maps read.

    Returns:
        Images of the same type and int64 label maps, both of the same shapes.
    """
    points = F.affine_grid(affines.to(image), list(image.shape), align_corners=False)
    if displacements is not None:
        # A voxel is 2 / size long in these coordinates, which come in the order z, y, x.
        lengths = torch.tensor([2 / n for n in image.shape[2:]]).to(image)
        moved = displacements.to(image) * lengths.view(3, 1, 1, 1)
        points = points + moved.flip(1).permute(0, 2, 3, 4, 1)
    warped = F.grid_sample(image - AIR, points, mode="bilinear", align_corners=False) + AIR
    channel = label.unsqueeze(1).to(points.dtype)
    nearest = F.grid_sample(channel, points, mode="nearest", align_corners=False)
    return warped, nearest.squeeze(1).to(torch.int64)


def random_densities(
    rng: np.random.Generator, image: Tensor, label: Tensor, strength: float
) -> Tensor:
    """Images with denser or, more often, less dense vertebrae, down to fatty marrow.

    The gray values of an image's vertebrae change by a number between -0.4 and 0.15 (-300 to
    110 HU) and by a smooth field of SD 0.1, but do not fall below the value of fatty marrow.

    Args:
        rng: numpy generator, the only source of randomness.
        image: (N, 1, X, Y, Z) in [-1, 1], float32.
        label: (N, X, Y, Z), any integer type; 0 is background.
        strength: factor of both changes; 0 for no change.
    """
    shift = rng.uniform(-0.4, 0.15, (len(image), 1, 1, 1, 1)).astype(np.float32)
    gain = strength * (torch.from_numpy(shift).to(image) + _smooth_field(rng, image, (4, 4, 6)))
    inside = F.avg_pool3d((label[:, None] > 0).to(image), 3, 1, 1)
    return torch.maximum(image + inside * gain, image.clamp(max=FATTY_MARROW))


def random_intensities(rng: np.random.Generator, image: Tensor, strength: float) -> Tensor:
    """Images with random contrast, brightness, sharpness and noise; air stays as it is.

    The steps, with their ranges at strength 1:
    1. Blur, with probability 1/2 for each axis, by a Gaussian of an SD of up to 1 voxel.
    2. Sharpen, with probability 1/2, by adding the detail finer than a voxel up to once more.
    3. Raise gray values, from 0 (air) to 1, to a power between 1/1.5 and 1.5.
    4. Stretch values above a random lower limit of bone by a factor between 1/2 and 2.
    5. Multiply by a smooth field of mean 1 and SD 0.1.
    6. On the scale from -1 to 1, multiply by 1 +- 0.2 and add +- 0.15.
    7. Add noise of an SD of up to 0.12, the same for the whole batch, and clip to [-1, 1].

    Args:
        rng: numpy generator, the only source of randomness.
        image: (N, 1, X, Y, Z) in [-1, 1], float32.
        strength: factor of all ranges; 0 for no change.
    """
    count = len(image)

    def draw(low: float, high: float, shape: Sequence[int] = (1, 1, 1, 1)) -> Tensor:
        values = rng.uniform(low, high, (count, *shape)).astype(np.float32)
        return torch.from_numpy(values).to(image.device)

    changed = _blur(image, draw(-strength, strength, (3,)).clamp_min(0))
    one_voxel = torch.ones(count, 3, device=image.device)
    detail = changed - _blur(changed, one_voxel)
    changed = changed + draw(-strength, strength).clamp_min(0) * detail
    # Steps 3 to 5 take air as 0 and the upper end of the window as 1.
    changed = ((changed + 1) / 2).clamp(0, 1) ** 1.5 ** draw(-strength, strength)
    bone = draw(*BONE)
    changed = changed.minimum(bone) + (changed - bone).clamp_min(0) * 2 ** draw(-strength, strength)
    changed = changed * (1 + strength * _smooth_field(rng, image, (4, 4, 4))) * 2 - 1
    changed = changed * (1 + 0.2 * draw(-strength, strength)) + 0.15 * draw(-strength, strength)
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, 0.12 * strength)
    changed = changed + torch.from_numpy(noise).to(image.device)
    return torch.where(image > AIR + AIR_TOLERANCE, changed.clamp(AIR, 1), image)


def _smooth_field(rng: np.random.Generator, image: Tensor, nodes: Sequence[int]) -> Tensor:
    """Gaussian noise of SD 0.1 at nodes (X, Y, Z), interpolated over images (N, 1, X, Y, Z)."""
    noise = rng.standard_normal((len(image), 1, *nodes), np.float32) * np.float32(0.1)
    return F.interpolate(torch.from_numpy(noise).to(image), image.shape[2:], mode="trilinear")


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images (N, 1, X, Y, Z), one axis after the other.

    Args:
        image: the images.
        sigma: SD (N, 3) along x, y and z of up to 1 voxel; 0 for no blur.
    """
    offsets = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma[..., None] ** 2 + 1e-6))
    weights = weights / weights.sum(2, keepdim=True)
    # As channels of one image, each image has a kernel of its own.
    channels = image.transpose(0, 1)
    for axis in range(3):
        kernel_shape, padding = [1, 1, 1], [0] * 6
        kernel_shape[axis] = len(offsets)
        # `F.pad` counts axes from the last one.
        padding[2 * (2 - axis) : 2 * (3 - axis)] = [BLUR_REACH, BLUR_REACH]
        kernels = weights[:, axis].view(-1, 1, *kernel_shape)
        padded = F.pad(channels, padding, mode="replicate")
        channels = F.conv3d(padded, kernels, groups=len(image))
    return channels.transpose(0, 1)
