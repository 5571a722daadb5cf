"""Trained networks on disk: safetensors with the metadata to rebuild the network; no pickles."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path, file_sha256
from vertseg.networks.devices import place_network
from vertseg.networks.initial_weights import check_fit
from vertseg.networks.metadata import (
    FORMAT,
    array_fault,
    metadata_of_format,
    output_channels,
    parse_metadata,
)
from vertseg.networks.registry import build_network, count_parameters, limit_context


def save_weights(
    path: str | os.PathLike[str],
    network: nn.Module,
    metadata: dict[str, Any],
    file_format: str = FORMAT,
) -> None:
    """Write a network atomically; the same network and metadata give the same bytes.

    `load_network` reads files whose metadata have `network` and `options`, arguments of
    `build_network` that made the network, `num_classes`, `auxiliary` if it has outputs beside its
    classes, and `settings` with `grid` and `crop`.

    Args:
        path: target.
        network: the network.
        metadata: JSON values. The format and the number of parameters are added.
        file_format: name and version of the file's format.
    """
    described = {**metadata, "format": file_format, "parameters": count_parameters(network)}
    first = shared_names(network)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if first[name] == name
    }
    with atomic_path(path) as temporary:
        # One key: safetensors writes several in random order.
        save_file(tensors, temporary, {"vertseg": json.dumps(described, sort_keys=True)})


def load_network(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a network in evaluation mode, and return it with its metadata.

    Raises:
        UserError: the file is missing, damaged or of another format, its metadata are incomplete or
            out of bounds (see `parse_metadata`), or its weights are unusable or do not fit the
            network that it names.
    """
    tensors, text = _read(path)
    metadata = parse_metadata(path, text)
    _check_values(path, tensors)
    try:
        outputs = output_channels(metadata["num_classes"], metadata.get("auxiliary", []))
        network = build_network(metadata["network"], outputs, **metadata["options"])
        _check_types(network, tensors)
        network.load_state_dict(tensors)
        limit_context(network, metadata["settings"]["crop"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        raise _misfit(path, error) from error
    return place_network(network, torch.device(device)).eval(), metadata


def load_initial_weights(
    network: nn.Module,
    path: str | os.PathLike[str],
    name: str,
    options: dict[str, Any],
    num_classes: int,
    auxiliary: Sequence[str] = (),
) -> None:
    """Give a new network the weights of a trained one of the same kind.

    The trained network may lack auxiliary outputs of the new one: their weights stay fresh.

    Args:
        network: made by `build_network`, with `output_channels(num_classes, auxiliary)` outputs;
            changed.
        path: safetensors file of the trained network.
        name: name of the network.
        options: options of the network; the trained one's `checkpointing` may differ.
        num_classes: number of classes.
        auxiliary: outputs beside the classes.

    Raises:
        UserError: the file cannot be read or is of another network.
    """
    tensors, metadata = read_weights(path, FORMAT)
    check_fit(path, metadata, name, options, num_classes, auxiliary)
    try:
        if len(metadata.get("auxiliary", [])) < len(auxiliary):
            tensors = _with_added_outputs(network, tensors)
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise _misfit(path, error) from error


def _with_added_outputs(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Trained tensors whose missing last output channels are those of a new network."""
    complete = dict(tensors)
    for name, own in network.state_dict().items():
        trained = tensors.get(name)
        if trained is not None and own.ndim and trained.shape[1:] == own.shape[1:]:
            complete[name] = torch.cat([trained, own[len(trained) :]])
    return complete


def described_initial_weights(path: str | os.PathLike[str] | None) -> dict[str, str] | None:
    """Name and SHA-256 of a training's initial weights, for the result's metadata."""
    return {"file": Path(path).name, "sha256": file_sha256(path)} if path else None


def _misfit(path: str | os.PathLike[str], error: Exception) -> UserError:
    return UserError(
        f"{path}: its weights do not fit the network that it names ({error}). "
        "Train or download it again."
    )


def read_weights(
    path: str | os.PathLike[str], file_format: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a file written by `save_weights`.

    Raises:
        UserError: the file is missing, damaged or of another format, or its weights are not finite
            or, in a convolution, all 0.
    """
    tensors, text = _read(path)
    metadata = metadata_of_format(path, text, file_format)
    _check_values(path, tensors)
    return tensors, metadata


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """Tensors of a safetensors file, and our metadata as text."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("vertseg", "{}")
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as weights ({error}).") from error


def _check_values(path: str | os.PathLike[str], tensors: dict[str, Tensor]) -> None:
    """Refuse weights that are not finite, and convolutions (5 axes) that are all 0."""
    for name, tensor in tensors.items():
        # numpy has not all of PyTorch's types; double precision holds the values of each.
        if fault := array_fault(name, tensor.double().numpy(), tensor.ndim):
            raise UserError(f"{path}: {fault}. Train or download it again.")


def _check_types(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors of other types than the network's, which would be converted on loading."""
    for name, own in network.state_dict().items():
        if name in tensors and tensors[name].dtype != own.dtype:
            raise TypeError(f"{name} is of type {tensors[name].dtype}, not {own.dtype}")


def shared_names(network: nn.Module) -> dict[str, str]:
    """For each entry of a network's state, the first entry that shares its memory, or itself."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(tensor.data_ptr(), name)
        for name, tensor in network.state_dict().items()
    }
