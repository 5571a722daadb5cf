"""Networks by name, built with fresh weights."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from vertseg.anatomy.labels import NUM_CLASSES
from vertseg.core.errors import UserError
from vertseg.networks import FEATURE_STRIDE
from vertseg.networks.blocks import ASPP
from vertseg.networks.mobilenet import MobileNet
from vertseg.networks.mobilenet_aspp import MobileNetASPP
from vertseg.networks.resnet_aspp import ResNet18ASPP
from vertseg.networks.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {
    "mobilenet_aspp": MobileNetASPP,
    "mobilenet": MobileNet,
    "resnet18_aspp": ResNet18ASPP,
    "unet": UNet,
}
"""Networks map images (N, 1, X, Y, Z) to logits (N, num_classes, X, Y, Z).

The last channels may be other outputs than classes (`vertseg.networks.metadata.AUXILIARY`).
"""


def build_network(name: str, num_classes: int = NUM_CLASSES, **options: Any) -> nn.Module:
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of `NETWORKS`.
        num_classes: number of output channels.
        options: options of that network, such as `aspp_rates` and `checkpointing`.

    Raises:
        UserError: an unknown network or option.
    """
    if name not in NETWORKS:
        raise UserError(f"There is no network {name!r}. Known: {', '.join(NETWORKS)}.")
    known = inspect.signature(NETWORKS[name]).parameters.keys() - {"num_classes"}
    unknown = options.keys() - known
    if unknown:
        raise UserError(
            f"network_options: {name} has no option {', '.join(sorted(unknown))}. "
            f"Known: {', '.join(sorted(known))}."
        )
    return NETWORKS[name](num_classes=num_classes, **options)


def limit_context(network: nn.Module, crop: Sequence[int] | None) -> None:
    """Limit the means in a network trained on crops to regions of a crop's size.

    Args:
        network: the network, changed.
        crop: cells (X, Y, Z) of a crop; None for a network trained on whole scans.
    """
    for module in network.modules() if crop else ():
        if isinstance(module, ASPP):
            x, y, z = (cells // FEATURE_STRIDE for cells in crop or ())
            module.window = (x, y, z)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
