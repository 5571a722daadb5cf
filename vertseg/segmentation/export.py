"""Trained networks as ONNX models, for machines without PyTorch."""

import json
import os
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from scipy.special import log_softmax

from vertseg.core.files import atomic_path
from vertseg.networks.weights import load_network
from vertseg.segmentation.model import load_model

OPSET = 18
EXAMPLE_CELLS = (64, 72, 96)
"""Size of the image that the export is traced with; the model accepts any other."""


def example_size(crop: Sequence[int] | None) -> tuple[int, ...]:
    """Size (X, Y, Z) of the image that an export is traced with.

    Args:
        crop: cells (X, Y, Z) of the network's training crops, or None.
    """
    if not crop:
        return EXAMPLE_CELLS
    return tuple(max(n, 2 * cells) for n, cells in zip(EXAMPLE_CELLS, crop, strict=True))


def export_onnx(weights: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX model of any input size, with its metadata.

    Args:
        weights: safetensors file of a network.
        target: the .onnx file, written atomically.

    Raises:
        UserError: the weights cannot be loaded.
    """
    network, trained = load_network(weights)
    size = example_size(trained["settings"]["crop"])
    axes = {axis: torch.export.Dim.DYNAMIC for axis in (2, 3, 4)}
    program = torch.onnx.export(
        network,
        (torch.zeros(1, 1, *size),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=(axes,),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"vertseg": json.dumps(trained, sort_keys=True)})
    onnx.checker.check_model(model)
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)


def largest_difference(weights: str | os.PathLike[str], model: str | os.PathLike[str]) -> float:
    """Largest difference of an ONNX model's outputs from its network's, on noise.

    Classes are compared by their log-probabilities.

    Raises:
        UserError: a file cannot be loaded.
    """
    network = load_model(weights)
    size = [n + 5 for n in network.crop or EXAMPLE_CELLS]
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, *size)).astype(np.float32)
    classes = network.trained["num_classes"]
    both = [one.forward(image) for one in (network, load_model(model))]
    ours, theirs = (log_softmax(one[:classes], axis=0) for one in both)
    others = np.abs(both[0][classes:] - both[1][classes:]).max(initial=0)
    return float(max(np.abs(ours - theirs).max(), others))
