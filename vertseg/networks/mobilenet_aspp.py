"""MobileNet/ASPP, the paper's network: 1,278,749 parameters with 29 classes."""

from collections.abc import Sequence

from torch import Tensor, nn

from vertseg.networks.blocks import ASPP, SingleStageNetwork, initialise_kaiming
from vertseg.networks.depthwise import DepthwiseConv3d

BODY = ((16, 96, 24, 1), (24, 144, 24, 1), (24, 144, 32, 1), (32, 192, 32, 1),
        (32, 192, 32, 2), (32, 192, 64, 1), (64, 384, 64, 1))  # fmt: skip
"""Blocks 2 to 8: input, expanded and output channels, and stride of the depthwise layer."""


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018) in 3-D, as in the authors' notebook.

    Expansion, depthwise filter, projection: three bias-free convolutions with batch normalisation,
    with ReLU6 after the first two. An input of the output's shape is added to the output.

    Args:
        in_channels: channels of the input.
        mid_channels: channels of the depthwise convolution.
        out_channels: channels of the output.
        stride: stride of the depthwise convolution.
        first: expand by a dense 3x3x3 convolution of stride 2, as the network's first block does.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        stride: int = 1,
        first: bool = False,
    ) -> None:
        super().__init__()
        kernel, expand_stride = (3, 2) if first else (1, 1)
        self.layers = nn.Sequential(
            nn.Conv3d(
                in_channels, mid_channels, kernel, expand_stride, padding=kernel // 2, bias=False
            ),
            nn.BatchNorm3d(mid_channels),
            nn.ReLU6(),
            DepthwiseConv3d(mid_channels, stride),
            nn.BatchNorm3d(mid_channels),
            nn.ReLU6(),
            nn.Conv3d(mid_channels, out_channels, 1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.residual = in_channels == out_channels and stride == 1 and not first

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, in, X, Y, Z)."""
        result = self.layers(x)
        return x + result if self.residual else result


class MobileNetASPP(SingleStageNetwork):
    """Eight inverted residual blocks, atrous pooling and a head with one skip connection.

    Layers, widths, strides and initialisation are the authors'. The paper's 8 blocks "with 24
    layers in total" are the 8 x 3 convolutions; its 1.2M parameters are 1,278,749, truncated.

    Args:
        num_classes: number of output channels.
        aspp_rates: dilations of the four 3x3x3 branches, in voxels of the feature map.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """

    def __init__(
        self, num_classes: int, aspp_rates: Sequence[int], checkpointing: bool = False
    ) -> None:
        stem, body = mobilenet_backbone()
        super().__init__(stem, body, ASPP(aspp_rates), num_classes, checkpointing)


def mobilenet_backbone() -> tuple[nn.Module, nn.Module]:
    """Block 1 (its output is the skip connection), and blocks 2 to 8 (authors')."""
    stem = InvertedResidual(1, 32, 16, first=True)
    body = nn.Sequential(*(InvertedResidual(*block) for block in BODY))
    initialise_kaiming(stem)
    initialise_kaiming(body)
    return stem, body
