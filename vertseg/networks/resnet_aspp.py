"""ResNet18/ASPP: 3,204,845 parameters with 29 classes (the paper prints 3.2M)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from vertseg.networks.blocks import (
    ASPP,
    FEATURE_CHANNELS,
    SKIP_CHANNELS,
    ConvBlock,
    SingleStageNetwork,
    initialise_kaiming,
)

STAGES = ((16, 1), (32, 2), (64, 1), (128, 1))
"""Channels and stride of the four stages, two blocks each."""


class BasicBlock(nn.Module):
    """ResNet's basic block (He et al. 2016) in 3-D: two 3x3x3 convolutions and a shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(in_channels, out_channels, 3, stride),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.shortcut = nn.Sequential()
        if in_channels != out_channels or stride != 1:
            self.shortcut.append(nn.Conv3d(in_channels, out_channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm3d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, in, X, Y, Z)."""
        return F.relu(self.layers(x) + self.shortcut(x), inplace=True)


class ResNet18ASPP(SingleStageNetwork):
    """ResNet18 of a quarter of the usual width, with MobileNet/ASPP's ASPP and head.

    A reconstruction with the printed number of parameters, as the authors published no code of it.
    The stem replaces the 7x7 convolution and max pooling; its output is the skip connection. Only
    the second stage has a stride, so that ASPP works at the same resolution as in MobileNet/ASPP.

    Args:
        num_classes: number of output channels.
        aspp_rates: dilations of the four 3x3x3 branches, in voxels of the feature map.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """

    def __init__(
        self, num_classes: int, aspp_rates: Sequence[int], checkpointing: bool = False
    ) -> None:
        stem = ConvBlock(1, SKIP_CHANNELS, 3, stride=2)
        body = nn.Sequential()
        channels = SKIP_CHANNELS
        for width, stride in STAGES:
            body.append(BasicBlock(channels, width, stride))
            body.append(BasicBlock(width, width))
            channels = width
        body.append(nn.Conv3d(channels, FEATURE_CHANNELS, 1, bias=False))
        body.append(nn.BatchNorm3d(FEATURE_CHANNELS))
        initialise_kaiming(stem)
        initialise_kaiming(body)
        super().__init__(stem, body, ASPP(aspp_rates), num_classes, checkpointing)
