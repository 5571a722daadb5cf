"""Trained networks for prediction, run by PyTorch or by ONNX Runtime, whichever is at hand."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vertseg.errors import UserError
from vertseg.files import file_sha256

RuntimeName = Literal["onnx", "torch"]

SHIPPED = "vertseg-phantom"
"""Name of the model that comes with the package (vertseg/models/), for both runtimes."""

SUFFIXES: dict[str, RuntimeName] = {".onnx": "onnx", ".safetensors": "torch"}
PACKAGES: dict[RuntimeName, str] = {"onnx": "onnxruntime", "torch": "torch"}


@dataclass(frozen=True)
class Model:
    """A network ready to run.

    Attributes:
        name: the file's name without its suffix.
        sha256: of the file.
        runtime: what runs it.
        trained: what its file says of its training: `settings` with grid and crop,
            `training_range`, `num_classes`.
        forward: images (1, 1, X, Y, Z) float32 to logits (C, X, Y, Z) float32.
    """

    name: str
    sha256: str
    runtime: RuntimeName
    trained: dict[str, Any]
    forward: Callable[[np.ndarray], np.ndarray]

    @property
    def crop(self) -> Sequence[int] | None:
        """Cells (X, Y, Z) of the crops it learned from, None if those were whole scans."""
        return self.trained["settings"]["crop"]


def load_model(path: str | os.PathLike[str] | None = None, threads: int | None = None) -> Model:
    """Load a network.

    Args:
        path: a `.safetensors` or `.onnx` file; the shipped model by default, by ONNX Runtime if
            that is installed, else by PyTorch.
        threads: how many the network may use; all cores by default.

    Raises:
        UserError: the file is missing or no model, or its runtime is not installed.
    """
    file = shipped_model() if path is None else Path(path)
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: a model is a .safetensors or an .onnx file.")
    if not file.is_file():
        raise UserError(f"{file}: no such model. Check --model.")
    runtime = SUFFIXES[file.suffix]
    if not find_spec(PACKAGES[runtime]):
        raise UserError(
            f"{file}: needs {PACKAGES[runtime]}, which is not installed: "
            f'pip install "vertseg[{runtime}]".'
        )
    load = _load_onnx if runtime == "onnx" else _load_torch
    trained, forward = load(file, threads)
    return Model(file.stem, file_sha256(file), runtime, trained, forward)


def shipped_model() -> Path:
    """The model that comes with the package, for the runtime that is installed.

    Raises:
        UserError: neither runtime is.
    """
    folder = Path(str(files("vertseg") / "models"))
    for suffix, runtime in SUFFIXES.items():
        if find_spec(PACKAGES[runtime]):
            return folder / f"{SHIPPED}{suffix}"
    raise UserError(
        'Neither ONNX Runtime nor PyTorch is installed: pip install "vertseg[onnx]" (small) or '
        '"vertseg[torch]".'
    )


def _load_torch(
    file: Path, threads: int | None
) -> tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    import torch

    from vertseg.devices import keep_freed_memory
    from vertseg.networks.folding import fold_batch_norms
    from vertseg.weights import load_network

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    network, trained = load_network(file)
    fold_batch_norms(network)

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images))[0].contiguous().numpy()

    return trained, forward


def _load_onnx(
    file: Path, threads: int | None
) -> tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # The arena would keep the largest scan's memory until the end.
    options.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        trained = json.loads(session.get_modelmeta().custom_metadata_map["vertseg"])
    except KeyError:
        raise UserError(f"{file}: an ONNX model, but none that this program wrote.") from None
    except Exception as error:  # ONNX Runtime's errors have no common class.
        raise UserError(f"{file}: cannot be read as an ONNX model ({error}).") from error

    def forward(images: np.ndarray) -> np.ndarray:
        return session.run(None, {"image": images})[0][0]

    return trained, forward
