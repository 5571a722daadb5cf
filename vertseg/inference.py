"""From a scan to a label map with a trained network."""

import numpy as np
import torch
from torch import nn

from vertseg.grid import GridShape, GridTransform
from vertseg.volumes import Volume


@torch.inference_mode()
def predict_logits(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Logits (C, X, Y, Z) float32 of one normalised image (X, Y, Z) on the network's grid."""
    device = next(network.parameters()).device
    batch = torch.from_numpy(image)[None, None].to(device, torch.float32)
    return network(batch)[0].float().cpu().numpy()


def segment_volume(network: nn.Module, ct: Volume, grid: GridShape) -> np.ndarray:
    """Label map (x, y, z) uint8 in a CT's canonical native space."""
    transform = GridTransform(grid, ct.native)
    return transform.decode_logits(predict_logits(network, transform.encode_image(ct.array)))
