"""Cached scans: image and label on the network's grid, and what it takes to go back."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.segmentation.grid import GridTransform

FORMAT = "vertseg-cache-1"


@dataclass(frozen=True)
class CachedScan:
    """One scan on the network's grid.

    Attributes:
        name: the scan's BIDS stem.
        image: float16 (X, Y, Z) in [-1, 1], -1 is air.
        label: uint8 (X, Y, Z) VerSe values, or None for a scan without reference.
        transform: the way between native space and the grid.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    transform: GridTransform


def write_cache(path: str | os.PathLike[str], scan: CachedScan) -> None:
    """Write a cached scan atomically."""
    tensors = {"image": scan.image}
    if scan.label is not None:
        tensors["label"] = scan.label
    metadata = {"format": FORMAT, "scan": scan.name, "transform": scan.transform.to_json()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_cache(path: str | os.PathLike[str]) -> CachedScan:
    """Read what `write_cache` wrote.

    Raises:
        UserError: the file is missing, damaged or of another format.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(f"{path}: not a cached scan. Delete it and run again.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Delete it and run again.") from error
    return CachedScan(
        metadata["scan"],
        tensors["image"],
        tensors.get("label"),
        GridTransform.from_json(metadata["transform"]),
    )
