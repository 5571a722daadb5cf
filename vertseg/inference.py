"""From a scan to a label map with a trained network."""

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from torch import nn

from vertseg.grid import GridShape, GridTransform
from vertseg.volumes import Volume


@torch.inference_mode()
def predict_logits(networks: Sequence[nn.Module], image: np.ndarray) -> np.ndarray:
    """Logarithm of the networks' mean probabilities, (C, X, Y, Z) float32.

    Args:
        networks: one, or those of several folds, on one device.
        image: normalised image (X, Y, Z) on the network's grid.
    """
    device = next(networks[0].parameters()).device
    batch = torch.from_numpy(image)[None, None].to(device, torch.float32)
    each = (network(batch)[0].float().log_softmax(dim=0) for network in networks)
    return (reduce(torch.logaddexp, each) - math.log(len(networks))).cpu().numpy()


def segment_volume(network: nn.Module, ct: Volume, grid: GridShape) -> np.ndarray:
    """Label map (x, y, z) uint8 in a CT's canonical native space."""
    transform = GridTransform(grid, ct.native)
    return transform.decode_logits(predict_logits([network], transform.encode_image(ct.array)))
