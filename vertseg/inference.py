"""From a scan to a label map with a trained network."""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vertseg.grid import AIR, GridTransform, without_unannotated
from vertseg.volumes import Volume


def padded(scan: Tensor, outside: float, smallest: Sequence[int] | None) -> Tensor:
    """A scan (X, Y, Z) with values appended where its axes are shorter than `smallest`."""
    if smallest is None:
        return scan
    missing = [max(n - size, 0) for n, size in zip(smallest, scan.shape, strict=True)]
    return F.pad(scan, [side for n in reversed(missing) for side in (0, n)], value=outside)


@torch.inference_mode()
def predict_logits(
    networks: Sequence[nn.Module], image: np.ndarray, smallest: Sequence[int] | None = None
) -> np.ndarray:
    """Logarithm of the networks' mean probabilities, (C, X, Y, Z) float32.

    Args:
        networks: one, or those of several folds, on one device.
        image: normalised image (X, Y, Z) on the network's grid.
        smallest: the size of the crops that the networks were trained on, if they were: a smaller
            image gets air around it, as it did in training.
    """
    device = next(networks[0].parameters()).device
    whole = padded(torch.from_numpy(image), AIR, smallest)
    batch = whole[None, None].to(device, torch.float32)
    each = (network(batch)[0].float().log_softmax(dim=0) for network in networks)
    mean = reduce(torch.logaddexp, each) - math.log(len(networks))
    x, y, z = image.shape
    return without_unannotated(mean[:, :x, :y, :z].cpu().numpy())


def segment_volume(network: nn.Module, ct: Volume, trained: dict[str, Any]) -> np.ndarray:
    """Label map (x, y, z) uint8 in a CT's canonical native space.

    Args:
        network: on any device.
        ct: the scan.
        trained: what `load_network` says of the network: its grid, its settings.
    """
    transform = GridTransform.onto(trained["settings"]["grid"], ct.native)
    image = transform.encode_image(ct.array)
    return transform.decode_logits(predict_logits([network], image, trained["settings"]["crop"]))
