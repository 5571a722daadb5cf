"""Checkpoints: everything a killed training run needs to end as if it had never been killed."""

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vertseg.core.files import atomic_path, file_sha256
from vertseg.core.logs import logger
from vertseg.training.settings import TrainingSettings

NAME = "checkpoint.pt"


def fingerprint(
    settings: TrainingSettings, precision: str, code: str, caches: Sequence[Path]
) -> str:
    """SHA-256 of all that decides the weights.

    Args:
        settings: the recipe; its initial weights count by their content.
        precision: that the network is trained in.
        code: fingerprint of the code that trains (`vertseg.core.code_version`).
        caches: scans to train on and to look at.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode())
    digest.update(precision.encode())
    digest.update(code.encode())
    for path in caches:
        digest.update(bytes.fromhex(file_sha256(path)))
    if settings.initial_weights:
        digest.update(bytes.fromhex(file_sha256(settings.initial_weights)))
    return digest.hexdigest()


def save_checkpoint(folder: Path, run: str, state: dict[str, Any]) -> None:
    """Write a checkpoint of the run with this fingerprint atomically."""
    with atomic_path(folder / NAME) as temporary:
        torch.save({"fingerprint": run, **state}, temporary)


def load_checkpoint(folder: Path, run: str) -> dict[str, Any] | None:
    """The run's checkpoint on the CPU, or None, logged, if there is none that can be used."""
    for leftover in folder.glob(f".{NAME}.*"):
        leftover.unlink()
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = state["fingerprint"]
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        logger.warning("%s is damaged (%s): training starts anew.", path, error)
        return None
    if known != run:
        logger.warning("%s is of other settings, scans or code: training starts anew.", path)
        return None
    return state


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished run."""
    (folder / NAME).unlink(missing_ok=True)
