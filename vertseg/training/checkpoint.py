"""Checkpoints: the state from which a killed training run continues to the same result."""

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
    """SHA-256 of everything that decides the weights.

    Args:
        settings: the recipe; initial weights count by their content.
        precision: fp32, fp16 or bf16.
        code: fingerprint of the training code (`vertseg.core.code_version`).
        caches: training and validation scans.
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
    """Write a checkpoint atomically; `run` is the run's fingerprint."""
    with atomic_path(folder / NAME) as temporary:
        torch.save({"fingerprint": run, **state}, temporary)


def load_checkpoint(folder: Path, run: str) -> dict[str, Any] | None:
    """The run's checkpoint on the CPU, or None without a usable one; the reason is logged."""
    for leftover in folder.glob(f".{NAME}.*"):
        leftover.unlink()
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = state["fingerprint"]
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        logger.warning("%s is damaged (%s): training starts from the beginning.", path, error)
        return None
    if known != run:
        logger.warning(
            "%s belongs to other settings, scans or code: training starts from the beginning.", path
        )
        return None
    return state


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished run."""
    (folder / NAME).unlink(missing_ok=True)
