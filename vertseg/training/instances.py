"""Targets and losses of the outputs that tell vertebrae apart: body centres and offsets to them.

Targets are computed after augmentation, from the warped labels and from the bodies' centres, which
are found once in each whole scan and then moved like its voxels. A vertebra that a crop cuts off
thus keeps its own centre, even one outside the crop.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from vertseg.anatomy.centroids import BODY_DEPTH
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES, NUM_CLASSES
from vertseg.networks.metadata import OFFSET_CELLS

PEAK_WIDTH = 0.25
"""SD of a peak of the map of centres, as a share of the distance to the nearest neighbour."""

STEP_OF_SIZE = 0.75
"""Distance between neighbours over the cube root of a vertebra's volume, where none is in sight."""

PEAK_WEIGHT = 30.0
"""Additional weight, in the loss of the map of centres, of a voxel at a peak."""

OFFSETS_WEIGHT = 0.5
"""Weight of the loss of the offsets beside that of the classes."""

SOLVING_STEPS = 4
"""Steps of the fixed-point iteration that inverts a displacement."""


def body_centre_cells(label: np.ndarray, num_classes: int = NUM_CLASSES) -> np.ndarray:
    """Centre of each vertebra's body in cells, float32 (num_classes, 3); NaN for absent ones.

    The mean of its deepest cells, as in `vertseg.anatomy.centroids.body_centres`, but the scan's
    border does not count as the bone's surface.

    Args:
        label: label map (X, Y, Z).
        num_classes: number of rows of the result.
    """
    centres = np.full((num_classes, 3), np.nan, np.float32)
    for value, box in enumerate(ndimage.find_objects(label, max_label=num_classes - 1), start=1):
        if box is None or value not in NAMES:
            continue
        padding = [
            (int(side.start > 0), int(side.stop < size))
            for side, size in zip(box, label.shape, strict=True)
        ]
        depth = ndimage.distance_transform_edt(np.pad(label[box] == value, padding))
        core = np.argwhere(depth > BODY_DEPTH * depth.max()).mean(axis=0)
        corner = [side.start - pad[0] for side, pad in zip(box, padding, strict=True)]
        centres[value] = core + corner
    return centres


def peak_widths(label: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """SD in cells of each vertebra's peak in the map of centres, float32 (num_classes,).

    A share of the distance to the nearest neighbour, so that peaks stay apart in the neck; of a
    vertebra alone in its scan, a share of the cube root of its volume. 1 for absent vertebrae.

    Args:
        label: label map (X, Y, Z).
        centres: (num_classes, 3) of the same scan, see `body_centre_cells`.
    """
    steps = np.full(len(centres), np.inf)
    present = [v for v in CRANIOCAUDAL if v < len(centres) and np.isfinite(centres[v, 0])]
    for upper, lower in pairwise(present):
        step = np.linalg.norm(centres[lower] - centres[upper])
        steps[[upper, lower]] = np.minimum(steps[[upper, lower]], step)
    for value in present:
        size = np.cbrt(np.count_nonzero(label == value))
        # Beyond a missing level, the nearest neighbour is too far away.
        steps[value] = min(steps[value], 1.5 * STEP_OF_SIZE * size)
        if len(present) == 1:
            steps[value] = STEP_OF_SIZE * size
    return np.where(np.isfinite(steps), PEAK_WIDTH * steps, 1).astype(np.float32)


def moved_points(
    points: Tensor, affines: Tensor, size: Sequence[int], displacements: Tensor | None
) -> Tensor:
    """Where `augmentation.warp` puts points, in voxels, float32 (N, K, 3); NaN stays NaN.

    Args:
        points: (N, K, 3) voxel indices along x, y and z before the warp.
        affines: (N, 3, 4), as given to the warp.
        size: voxels (X, Y, Z) of the images.
        displacements: (N, 3, X, Y, Z) in voxels, as given to the warp, or None.
    """
    lengths = points.new_tensor(list(size))
    # `affine_grid`'s coordinates run from -1 to 1, in the order z, y, x.
    before = ((2 * points + 1) / lengths - 1).flip(2)
    affines = affines.to(points)
    inverse = torch.linalg.inv(affines[:, :, :3])
    shift = affines[:, None, :, 3]

    def undone(moved: Tensor) -> Tensor:
        return (moved - shift) @ inverse.transpose(1, 2)

    after = undone(before)
    if displacements is not None:
        for _ in range(SOLVING_STEPS):
            at = after.nan_to_num()[:, :, None, None]
            move = F.grid_sample(
                displacements.to(points), at, padding_mode="border", align_corners=False
            )[..., 0, 0].transpose(1, 2)
            after = undone(before - (2 * move / lengths).flip(2))
    return ((after.flip(2) + 1) * lengths - 1) / 2


def instance_targets(label: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Map of body centres (N, X, Y, Z) and offsets (N, 3, X, Y, Z) to the own body's centre.

    The map is 1 at each centre and falls off as a Gaussian. Offsets are in units of `OFFSET_CELLS`
    cells, NaN outside vertebrae.

    Args:
        label: (N, X, Y, Z) int64.
        centres: (N, C, 3) voxels of each label's body centre; NaN for absent ones.
        widths: (N, C) SD of the peaks in voxels.
    """
    size = label.shape[1:]
    axes = [torch.arange(n, device=label.device, dtype=torch.float32) for n in size]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    count = len(label)
    own = torch.stack([centres[one][label[one]] for one in range(count)]).permute(0, 4, 1, 2, 3)
    offsets = (own - places) / OFFSET_CELLS
    peaks = torch.zeros(count, *size, device=label.device)
    for one in range(count):
        for value in torch.nonzero(centres[one].isfinite().all(1))[:, 0].tolist():
            along = [
                torch.exp(-(((axis - place) / widths[one, value]) ** 2) / 2)
                for axis, place in zip(axes, centres[one, value], strict=True)
            ]
            x, y, z = along
            peak = x[:, None, None] * y[:, None] * z
            torch.maximum(peaks[one], peak, out=peaks[one])
    return peaks, offsets


def centres_loss(logits: Tensor, peaks: Tensor) -> Tensor:
    """Cross-entropy of the map of centres, with most weight on its peaks, a scalar.

    Args:
        logits: (N, X, Y, Z).
        peaks: (N, X, Y, Z) from 0 to 1, see `instance_targets`.
    """
    weight = 1 + PEAK_WEIGHT * peaks
    loss = F.binary_cross_entropy_with_logits(logits, peaks, reduction="none")
    return (weight * loss).sum() / weight.sum()


def offsets_loss(predicted: Tensor, offsets: Tensor) -> Tensor:
    """Smooth absolute error of the offsets within vertebrae, a scalar.

    Args:
        predicted: (N, 3, X, Y, Z).
        offsets: the same; NaN outside vertebrae.
    """
    inside = offsets[:, 0].isfinite()
    if not inside.any():
        return predicted.sum() * 0
    # Axes: N, X, Y, Z, component.
    ours, right = (one.permute(0, 2, 3, 4, 1)[inside] for one in (predicted, offsets))
    return OFFSETS_WEIGHT * F.smooth_l1_loss(ours, right)
