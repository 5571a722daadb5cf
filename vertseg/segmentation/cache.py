"""Cached scans on disk: image and label on the network's grid, with the transform from the scan."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.segmentation.grid import GridTransform

FORMAT = "vertseg-cache-3"


@dataclass(frozen=True)
class CachedScan:
    """One scan on the network's grid.

    Attributes:
        name: the scan's BIDS stem.
        image: normalised CT (X, Y, Z), float16 in [-1, 1]; -1 is air.
        label: VerSe values (X, Y, Z), uint8, or None for a scan without reference.
        transform: map between the scan's own voxels and the grid.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    transform: GridTransform


def write_cache(path: str | os.PathLike[str], scan: CachedScan) -> None:
    """Write a cached scan atomically; the same scan gives the same bytes."""
    tensors = {"image": scan.image}
    if scan.label is not None:
        tensors["label"] = scan.label
    metadata = {"format": FORMAT, "scan": scan.name, "transform": scan.transform.to_json()}
    with atomic_path(path) as temporary:
        # One key: safetensors writes several in random order.
        save_file(tensors, temporary, {"vertseg": json.dumps(metadata, sort_keys=True)})


def read_cache(path: str | os.PathLike[str]) -> CachedScan:
    """Read a cached scan.

    Raises:
        UserError: the file is missing, damaged or of another format.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = _metadata(file.metadata())
            if metadata.get("format") != FORMAT:
                raise UserError(
                    f"{path}: not a cached scan of this version. Delete it and run again."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Delete it and run again.") from error
    return CachedScan(
        metadata["scan"],
        tensors["image"],
        tensors.get("label"),
        GridTransform.from_json(metadata["transform"]),
    )


def _metadata(stored: dict[str, str] | None) -> dict[str, Any]:
    """The metadata that `write_cache` stores in one key; empty for other files."""
    try:
        metadata = json.loads((stored or {}).get("vertseg", "{}"))
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
