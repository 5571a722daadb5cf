"""Class-weighted negative log-likelihood with heavier label borders, and soft Dice."""

import numpy as np
import torch
from torch import Tensor

from vertseg.anatomy.labels import BACKGROUND

BASE_WEIGHT = 0.95
"""Weight of a voxel that is not on an edge (authors' notebook)."""


def class_weights(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Weights of the classes, `counts ** -exponent` over their mean, float32 (classes,).

    The authors' notebook reads its weights from an unpublished file; their group's public code has
    powers of -0.35 and -0.5. Classes without a voxel get the mean weight, 1, and do not count in
    that mean: they are absent from training, but may occur in validation.

    Args:
        counts: voxels of every class in the training labels (classes,).
        exponent: 0 for equal weights of all classes, 1 for equal shares of the loss.
    """
    weights = np.ones(len(counts))
    present = np.asarray(counts) > 0
    powers = np.asarray(counts, float)[present] ** -exponent
    weights[present] = powers / powers.mean()
    return weights.astype(np.float32)


def label_edges(label: Tensor) -> Tensor:
    """Voxels whose label differs from their predecessor's along any axis, bool (N, X, Y, Z).

    The first voxel of an axis has no predecessor (the authors' notebook wraps around).
    """
    edges = torch.zeros_like(label, dtype=torch.bool)
    for axis in (1, 2, 3):
        size = label.shape[axis] - 1
        differs = label.narrow(axis, 1, size) != label.narrow(axis, 0, size)
        edges.narrow(axis, 1, size).logical_or_(differs)
    return edges


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax over the classes of logits (N, C, X, Y, Z) of any floating type, float32."""
    return logits.float().log_softmax(1)


def segmentation_loss(
    log_probability: Tensor, label: Tensor, weights: Tensor, edge_weight: float
) -> Tensor:
    """Edge- and class-weighted negative log-likelihood, a scalar.

    L = sum(w l) / sum(w), with w = 0.95 + edge_weight on `label_edges` and 0.95 elsewhere, and l
    the class-weighted NLL of the log-softmax: the "edge loss" of the authors' notebook
    (patch_deeplab_verse.ipynb), for which the paper cites Ronneberger et al. 2015.

    Args:
        log_probability: float32 (N, C, X, Y, Z), see `log_probabilities`.
        label: int64 (N, X, Y, Z).
        weights: float32 (C,), see `class_weights`.
        edge_weight: additional weight of a voxel on an edge.
    """
    voxel_loss = -weights[label] * _of_label(log_probability, label)
    voxel_weight = BASE_WEIGHT + edge_weight * label_edges(label)
    return (voxel_weight * voxel_loss).sum() / voxel_weight.sum()


def soft_dice_loss(log_probability: Tensor, label: Tensor) -> Tensor:
    """One minus the mean soft Dice of the vertebrae in a batch, a scalar.

    The batch counts as one volume (Milletari et al. 2016; Isensee et al. 2021, "batch Dice").
    Background and classes without a voxel do not count.

    Args:
        log_probability: float32 (N, C, X, Y, Z), see `log_probabilities`.
        label: int64 (N, X, Y, Z).
    """
    classes = log_probability.shape[1]
    size = torch.bincount(label.flatten(), minlength=classes).to(log_probability)
    own = _of_label(log_probability, label).exp()
    overlap = torch.zeros_like(size).index_add(0, label.flatten(), own.flatten())
    present = size > 0
    present[BACKGROUND] = False
    predicted = log_probability.exp().sum((0, 2, 3, 4))
    dice = 2 * overlap / (size + predicted).clamp_min(1e-6)
    return 1 - dice[present].sum() / present.sum().clamp_min(1)


def _of_label(log_probability: Tensor, label: Tensor) -> Tensor:
    """Log-probability of each voxel's own label, (N, X, Y, Z).

    By `gather`, as the gradient of `nll_loss` takes twice as long on a CPU.
    """
    return log_probability.gather(1, label[:, None])[:, 0]
