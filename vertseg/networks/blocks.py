"""Parts shared by the networks: head, atrous pooling and checkpointed segments.

Designs marked "authors'" follow the notebook patch_deeplab_verse.ipynb in the authors' repository
https://github.com/multimodallearning/vertebrae-segmentation-classification (MIT licence).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vertseg.core.errors import UserError
from vertseg.networks import FEATURE_STRIDE

SKIP_CHANNELS = 16
FEATURE_CHANNELS = 64
CONTEXT_CHANNELS = 128
HEAD_CHANNELS = 64


class ConvBlock(nn.Sequential):
    """Bias-free convolution that keeps the size (at stride 1), batch normalisation, ReLU.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel: kernel size along all axes, odd.
        stride: stride along all axes.
        dilation: dilation along all axes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv3d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling, 64 to 128 channels (authors').

    A 1x1x1 branch, four dilated 3x3x3 branches and a branch of the image's mean, each with 128
    channels; their concatenation is projected to 128 channels, with dropout 0.5.

    A network trained on crops meets larger images in prediction. With a `window`, each voxel then
    gets the mean of a region of a crop's size around it instead of the whole image's mean.

    Attributes:
        window: size of a training crop in voxels (X, Y, Z) of the feature map, or None.

    Args:
        rates: dilations in voxels of the feature map. A dilation wider than the map reads nothing
            but padding beside its centre, so scale the rates with the grid.
    """

    def __init__(self, rates: Sequence[int]) -> None:
        super().__init__()
        self.window: tuple[int, int, int] | None = None
        self.local = ConvBlock(FEATURE_CHANNELS, CONTEXT_CHANNELS, 1)
        self.dilated = nn.ModuleList(
            ConvBlock(FEATURE_CHANNELS, CONTEXT_CHANNELS, 3, dilation=rate) for rate in rates
        )
        self.pooled = ConvBlock(FEATURE_CHANNELS, CONTEXT_CHANNELS, 1)
        branches = len(rates) + 2
        self.project = ConvBlock(branches * CONTEXT_CHANNELS, CONTEXT_CHANNELS, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, 64, X, Y, Z) to (N, 128, X, Y, Z).

        Raises:
            UserError: training with a batch of one: its mean is a single value per channel,
                which batch normalisation cannot normalise.
        """
        if self.training and len(features) == 1:
            raise UserError(
                "ASPP normalises image means over the batch, which takes at least two scans: "
                "set training.batch_size to 2 or more."
            )
        if self.window and not self.training:
            mean = moving_mean(features, self.window)
        else:
            mean = features.mean((2, 3, 4), keepdim=True)
        pooled = self.pooled(mean).expand(-1, -1, *features.shape[2:])
        branches = [self.local(features), *(branch(features) for branch in self.dilated), pooled]
        return self.dropout(self.project(torch.cat(branches, 1)))


def moving_mean(features: Tensor, window: Sequence[int]) -> Tensor:
    """Mean of features (N, C, X, Y, Z) in a window (X, Y, Z) around each voxel.

    Near a border the window is moved until it lies within the map, which must not be smaller.
    """
    for axis, width in enumerate(window):
        kernel, padding = [1, 1, 1], [0] * 6
        kernel[axis] = width
        # `F.pad` counts axes from the last one.
        padding[2 * (2 - axis) : 2 * (3 - axis)] = [(width - 1) // 2, width // 2]
        features = F.pad(F.avg_pool3d(features, kernel, 1), padding, mode="replicate")
    return features


class SegmentationHead(nn.Module):
    """Joins context and skip connection, and classifies every voxel (authors')."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(CONTEXT_CHANNELS + SKIP_CHANNELS, HEAD_CHANNELS, 1),
            ConvBlock(HEAD_CHANNELS, HEAD_CHANNELS, 3),
            nn.Conv3d(HEAD_CHANNELS, num_classes, 1),
        )

    def forward(self, context: Tensor, skip: Tensor, size: Sequence[int]) -> Tensor:
        """Context (N, 128, ...) and skip (N, 16, ...) to logits (N, classes, *size).

        Context is resampled to the skip's size (nearest), logits to the image's (trilinear). The
        first convolution, of both concatenated, is the sum of one of each. As its kernel is 1x1x1,
        the context's part is computed before resampling, on an eighth of the voxels.
        """
        join, norm, activation = self.layers[0].children()
        assert isinstance(join, nn.Conv3d)
        of_context, of_skip = join.weight.split([CONTEXT_CHANNELS, SKIP_CHANNELS], dim=1)
        joined = F.conv3d(skip, of_skip, join.bias)
        joined = joined + F.interpolate(F.conv3d(context, of_context), skip.shape[2:])
        logits = self.layers[1:](activation(norm(joined)))
        return F.interpolate(logits, list(size), mode="trilinear", align_corners=False)


class SingleStageNetwork(nn.Module):
    """The paper's single stage: a backbone with a skip connection, context and a head.

    Its four segments, stem, body, context and head, can each be checkpointed.

    Args:
        stem: image (N, 1, X, Y, Z) to the skip (N, 16, ...) at half the resolution.
        body: skip to features (N, 64, ...) at a quarter of the resolution.
        context: features to (N, 128, ...) of the same size.
        num_classes: number of output channels.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        stem: nn.Module,
        body: nn.Module,
        context: nn.Module,
        num_classes: int,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.body = body
        self.context = context
        self.head = SegmentationHead(num_classes)
        self.checkpointing = checkpointing

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 1, X, Y, Z) to logits (N, classes, X, Y, Z).

        Raises:
            UserError: images smaller than a voxel of the feature map.
        """
        check_size(image, FEATURE_STRIDE)
        skip = run_segment(self.stem, image, checkpointing=self.checkpointing)
        features = run_segment(self.body, skip, checkpointing=self.checkpointing)
        context = run_segment(self.context, features, checkpointing=self.checkpointing)
        size = image.shape[2:]
        return run_segment(self.head, context, skip, size, checkpointing=self.checkpointing)


def check_size(image: Tensor, smallest: int) -> None:
    """Check that images (N, 1, X, Y, Z) have at least `smallest` voxels along each axis.

    Raises:
        UserError: an axis has fewer.
    """
    size = tuple(image.shape[2:])
    if min(size) < smallest:
        raise UserError(
            f"A grid of {size} is too small for this network: every axis of `grid` needs at "
            f"least {smallest} cells."
        )


def initialise_kaiming(module: nn.Module) -> None:
    """Draw a module's convolution weights from Kaiming's normal distribution, fan-out."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")


def run_segment(segment: nn.Module, *inputs: Tensor | Sequence[int], checkpointing: bool) -> Tensor:
    """Output of a part of a network; with `checkpointing`, its backward pass recomputes it."""
    if not (checkpointing and torch.is_grad_enabled()):
        return segment(*inputs)
    return checkpoint(
        segment,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _frozen_running_statistics(segment)),
    )


@contextmanager
def _frozen_running_statistics(segment: nn.Module) -> Iterator[None]:
    """Normalise a batch without counting it twice in the running statistics.

    A momentum of 0 keeps the running mean and variance, and the tensors saved by autograd.
    """
    counted = [
        (part, part.momentum, part.num_batches_tracked.clone())
        for part in segment.modules()
        if isinstance(part, nn.BatchNorm3d) and part.num_batches_tracked is not None
    ]
    for part, _, _ in counted:
        part.momentum = 0.0
    try:
        yield
    finally:
        for part, momentum, batches in counted:
            part.momentum = momentum
            part.num_batches_tracked = batches
