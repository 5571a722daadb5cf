"""MobileNet without ASPP: 277,533 parameters with 29 classes (the paper prints 277k)."""

import torch
from torch import Tensor, nn

from vertseg.networks.blocks import SingleStageNetwork
from vertseg.networks.mobilenet_aspp import mobilenet_backbone


class GlobalContext(nn.Module):
    """Concatenates features with their mean over the image; no parameters."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, X, Y, Z) to (N, 2 C, X, Y, Z)."""
        mean = features.mean((2, 3, 4), keepdim=True).expand_as(features)
        return torch.cat([features, mean], 1)


class MobileNet(SingleStageNetwork):
    """Backbone and head of MobileNet/ASPP without atrous pooling.

    A reconstruction, as the authors published no code of it. The backbone (155,584 parameters) and
    the unchanged head (121,949) add up to the printed number exactly, but the head reads 128
    channels beside the skip, and the backbone has 64. The global mean supplies the other 64.

    Args:
        num_classes: number of output channels.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """

    def __init__(self, num_classes: int = 29, checkpointing: bool = False) -> None:
        stem, body = mobilenet_backbone()
        super().__init__(stem, body, GlobalContext(), num_classes, checkpointing)
