"""U-Net: 5,297,981 parameters with 29 classes (the paper prints 5.2M)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vertseg.networks.blocks import ConvBlock, check_size, run_segment

WIDTHS = (16, 32, 64, 128, 256)


class UNet(nn.Module):
    """A 3-D U-Net (Ronneberger et al. 2015, Çiçek et al. 2016) with a light decoder.

    A reconstruction with the printed number of parameters, as the authors published no code of it:
    two 3x3x3 convolutions in each encoder level, one in each decoder level, batch normalisation,
    max pooling, trilinear upsampling. Widths 32-64-128-256 would have 5,257,309 parameters at
    nearly four times the cost.

    Args:
        num_classes: number of output channels.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """

    def __init__(self, num_classes: int = 29, checkpointing: bool = False) -> None:
        super().__init__()
        inputs = (1, *WIDTHS[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(ConvBlock(below, width, 3), ConvBlock(width, width, 3))
            for below, width in zip(inputs, WIDTHS, strict=True)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(deep + width, width, 3)
            for deep, width in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.classify = nn.Conv3d(WIDTHS[0], num_classes, 1)
        self.checkpointing = checkpointing

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 1, X, Y, Z) to logits (N, classes, X, Y, Z).

        Raises:
            UserError: images with fewer than 16 voxels along an axis.
        """
        check_size(image, 2 ** (len(WIDTHS) - 1))
        features = run_segment(self.encoder[0], image, checkpointing=self.checkpointing)
        skips = []
        for level in self.encoder[1:]:
            skips.append(features)
            pooled = F.max_pool3d(features, 2)
            features = run_segment(level, pooled, checkpointing=self.checkpointing)
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            upsampled = F.interpolate(
                features, skip.shape[2:], mode="trilinear", align_corners=False
            )
            joined = torch.cat([upsampled, skip], 1)
            features = run_segment(level, joined, checkpointing=self.checkpointing)
        return self.classify(features)
