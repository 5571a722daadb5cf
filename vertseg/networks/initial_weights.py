"""Whether trained weights fit a new network, by their file's header; needs no arrays.

Snakemake looks before its first job, and each training once more.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vertseg.core.errors import UserError

_LONGEST_HEADER = 1 << 24


def check_fit(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    network: str,
    options: Mapping[str, Any],
    num_classes: int,
    auxiliary: Sequence[str],
) -> None:
    """Refuse weights of another kind of network.

    Args:
        path: their file, for messages.
        metadata: theirs, see `vertseg.networks.weights`.
        network: name of the new network.
        options: options of the new network; the trained one's `checkpointing` may differ.
        num_classes: number of the new network's classes.
        auxiliary: outputs of the new network beside its classes; the last ones may be missing.

    Raises:
        UserError: they differ.
    """
    for what, here, there in (
        ("network", network, metadata.get("network")),
        ("network_options", _shape_options(options), _shape_options(metadata.get("options", {}))),
        ("num_classes", num_classes, metadata.get("num_classes")),
    ):
        if here != there:
            raise UserError(
                f"{path}: unfit as initial weights: their {what} is {there}, but this method's "
                f"{what} is {here}. Choose weights of the same network, or leave out "
                "training.initial_weights."
            )
    known = metadata.get("auxiliary", [])
    if list(auxiliary[: len(known)]) != known:
        raise UserError(
            f"{path}: unfit as initial weights: beside its classes it has the outputs "
            f"{', '.join(known)}, with which training.auxiliary must begin."
        )


def stated_metadata(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Metadata in the header of a file of weights; None of a file that is damaged or missing."""
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        stated = json.loads(header["__metadata__"]["vertseg"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stated if isinstance(stated, dict) else None


def _shape_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network that decide the shapes of its weights, as stored in JSON."""
    return json.loads(json.dumps({k: v for k, v in options.items() if k != "checkpointing"}))
