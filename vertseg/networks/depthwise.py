"""Depthwise convolution with a fast backward pass on CPUs.

PyTorch's own CPU backward of a depthwise convolution (oneDNN) takes most of a training step. Here
both gradients are expressed by other convolutions, which oneDNN computes several times faster.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv3d_input, conv3d_weight

CHANNELS_PER_GROUP = 16
"""Channels per group in the weight gradient: the width of oneDNN's fast kernels."""


class DepthwiseConv3d(nn.Conv3d):
    """A bias-free 3x3x3 depthwise convolution, padding 1: `nn.Conv3d`, trained faster on CPUs.

    Args:
        channels: number of channels in and out.
        stride: stride along all axes.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(channels, channels, 3, stride, padding=1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, X, Y, Z)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        return _DepthwiseConvolution.apply(x, weight, self.stride[0])


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv3d(x, weight, stride=stride, padding=1, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        to_x = _input_gradient(x, weight, gradient, ctx.stride) if ctx.needs_input_grad[0] else None
        to_weight = (
            _weight_gradient(x, weight, gradient, ctx.stride) if ctx.needs_input_grad[1] else None
        )
        return to_x, to_weight, None


def _input_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Gradient of the input: at stride 1, the output's gradient convolved with mirrored kernels."""
    channels = len(weight)
    if stride == 1:
        return F.conv3d(gradient, weight.flip(2, 3, 4), padding=1, groups=channels)
    return conv3d_input(x.shape, weight, gradient, stride, padding=1, groups=channels)


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Gradient of the weights: the diagonal of that of a convolution with wider groups.

    This computes each entry needed and many more, yet takes less time than oneDNN's depthwise
    kernel. Half precision is widened first: oneDNN's bfloat16 kernel is wrong on small maps.
    """
    channels = len(weight)
    width = math.gcd(channels, CHANNELS_PER_GROUP)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    full = conv3d_weight(
        x.to(dtype),
        [channels, width, 3, 3, 3],
        gradient.to(dtype),
        stride,
        padding=1,
        groups=channels // width,
    )
    channel = torch.arange(channels)
    return full[channel, channel % width].unsqueeze(1).to(weight.dtype)
