"""Settings of the way from a CT to a label map; needs neither numpy nor a network's runtime."""

from pathlib import Path
from typing import Literal, get_args

Decoding = Literal["argmax", "spine", "order", "instances"]
"""How logits become labels. argmax: each cell gets its largest. spine: besides, vertebrae are
single pieces of one spine. order: besides, they get their most probable order.
instances: vertebrae are told apart first and then named in that order, if the network has outputs
for it; else as order (docs/decoding.md)."""

DECODINGS: tuple[Decoding, ...] = get_args(Decoding)

OWN_SCANS_DECODING: Decoding = "instances"
"""Decoding of `vertseg predict`, unless another one is asked for."""

Outlines = Literal["network", "ct"]
"""Where outlines come from. network: its logits, interpolated to the scan's voxels. ct: besides,
moved to where the CT shows the vertebrae's surface (docs/screening.md)."""

OUTLINES: tuple[Outlines, ...] = get_args(Outlines)


def own_scans_outlines(decoding: Decoding) -> Outlines:
    """Outlines of `vertseg predict`, unless others are asked for.

    They are the CT's with decodings that may rename vertebrae; others leave the network's output
    as it is.
    """
    return "ct" if decoding in ("order", "instances") else "network"


RuntimeName = Literal["openvino", "onnx", "torch"]
"""Library that runs a network: OpenVINO, ONNX Runtime or PyTorch."""

FormatName = Literal["onnx", "torch"]
"""Format of a model file: ONNX, or weights for PyTorch."""

SUFFIXES: dict[str, FormatName] = {".onnx": "onnx", ".safetensors": "torch"}
"""Format by the suffix of a model file, the preferred one first."""

RUNTIMES: dict[FormatName, tuple[RuntimeName, ...]] = {
    "onnx": ("openvino", "onnx"),
    "torch": ("torch",),
}
"""Libraries that run each format, the preferred one first."""

SHIPPED = "vertseg-phantom"
"""Name of the model that comes with the package."""

SHIPPED_FILES: dict[FormatName, Path] = {
    form: Path(__file__).parents[1] / "models" / f"{SHIPPED}{suffix}"
    for suffix, form in SUFFIXES.items()
}
"""Files of that model, by format."""

SHIPPED_CARD = Path(__file__).parents[1] / "models/README.md"
"""Card of that model."""
