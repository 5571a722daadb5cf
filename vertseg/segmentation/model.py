"""Trained networks for prediction, run by PyTorch or by ONNX Runtime."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256
from vertseg.core.logs import logger
from vertseg.networks.metadata import output_channels, parse_metadata
from vertseg.segmentation.onnx_weights import weights_fault
from vertseg.segmentation.settings import SHIPPED_FILES, SUFFIXES, RuntimeName

Trained = dict[str, Any]
Forward = Callable[[np.ndarray], np.ndarray]

TRIAL_CELLS = 32
"""Largest size, along each axis, of the image that a network of whole scans is tried on."""

PACKAGES: dict[RuntimeName, str] = {"onnx": "onnxruntime", "torch": "torch"}


@dataclass(frozen=True)
class Model:
    """A network, or several that predict together, ready to run.

    Attributes:
        name: name of the file without its suffix; for several networks, all names.
        sha256: checksum of the file; for several networks, all checksums.
        runtime: library that runs the network.
        trained: metadata of the file about the training: `settings` with grid and crop,
            `num_classes` and, if known, `training_range`, `auxiliary` and `sacrum`; checked by
            `parse_metadata`.
        forward: images (1, 1, X, Y, Z) float32 to outputs (channels, X, Y, Z) float32: logits
            of the classes, then auxiliary outputs. For several networks, the logarithm of their
            mean probabilities and the means of the other outputs.
    """

    name: str
    sha256: str
    runtime: RuntimeName
    trained: Trained
    forward: Forward

    @property
    def crop(self) -> Sequence[int] | None:
        """Cells (X, Y, Z) of the training crops; None after training on whole scans."""
        return self.trained["settings"]["crop"]

    @property
    def channels(self) -> int:
        """Number of outputs."""
        return _channels(self.trained)


def load_model(
    path: str | os.PathLike[str] | None = None, threads: int | None = None, device: str = "cpu"
) -> Model:
    """Load a network.

    Args:
        path: a `.safetensors` or `.onnx` file; by default the shipped model, run by ONNX Runtime
            if that is installed, else by PyTorch.
        threads: number of threads; all cores by default.
        device: device for PyTorch (cpu, cuda, cuda:1, auto); ONNX Runtime always uses the CPU.

    Raises:
        UserError: the file is missing or not a model, or its runtime is not installed; its metadata
            are incomplete or out of bounds; its weights are not finite or 0; or its scores of a
            trial image have another shape than its metadata say, are not finite, or are the same
            everywhere.
    """
    return load_models([shipped_model() if path is None else path], threads, device)


def load_models(
    paths: Sequence[str | os.PathLike[str]], threads: int | None = None, device: str = "cpu"
) -> Model:
    """Load networks that predict together, such as those of all folds.

    Args:
        paths: files with the same suffix, of networks with the same grid, crops and classes.
        threads: as for `load_model`.
        device: as for `load_model`.

    Raises:
        UserError: as for `load_model`.
    """
    files = [Path(path) for path in paths]
    runtimes = {_runtime(file) for file in files}
    if len(runtimes) > 1:
        raise UserError(f"{', '.join(map(str, files))}: models of one suffix can predict together.")
    [runtime] = runtimes
    load = _load_onnx if runtime == "onnx" else _load_torch
    each, forward = load(files, threads, device)
    trained = _common(files, each)
    name = "+".join(file.stem for file in files)
    _try_out(" + ".join(map(str, files)), trained, forward)
    if trained.get("training_range") is None:
        logger.warning(
            "%s: states no range of its training scans, so that scans beyond it get no warning.",
            name,
        )
    return Model(name, "+".join(map(file_sha256, files)), runtime, trained, forward)


def shipped_model() -> Path:
    """File of the model that comes with the package, for an installed runtime.

    Raises:
        UserError: neither runtime is installed.
    """
    for runtime, file in SHIPPED_FILES.items():
        if find_spec(PACKAGES[runtime]):
            return file
    raise UserError(
        'Neither ONNX Runtime nor PyTorch is installed: pip install "vertseg[onnx]" (small) or '
        '"vertseg[torch]".'
    )


def _runtime(file: Path) -> RuntimeName:
    """Library that runs a model file; both are checked to be there."""
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
    return runtime


def _common(files: Sequence[Path], each: Sequence[Trained]) -> Trained:
    """The metadata of the first network, whose grid, crops and classes the others must share."""
    kinds = [
        (
            one["settings"]["grid"],
            one["settings"]["crop"],
            one["num_classes"],
            one.get("auxiliary", []),
            one.get("sacrum", False),
        )
        for one in each
    ]
    for file, kind in zip(files, kinds, strict=True):
        if kind != kinds[0]:
            raise UserError(
                f"{file}: grid, crop, number of classes and other outputs are {kind}, those of "
                f"{files[0]} {kinds[0]}. Give models that are alike."
            )
    return each[0]


def _channels(trained: Trained) -> int:
    return output_channels(trained["num_classes"], trained.get("auxiliary", []))


def _try_out(name: str, trained: Trained, forward: Forward) -> None:
    """Refuse a network whose scores of a trial image, noise, are useless."""
    grid, crop = trained["settings"]["grid"], trained["settings"]["crop"]
    whole = (TRIAL_CELLS,) * 3 if isinstance(grid, dict) else np.minimum(grid, TRIAL_CELLS)
    size = tuple(int(cells) for cells in crop or whole)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, *size)).astype(np.float32)
    try:
        scores = np.asarray(forward(image))
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:  # Runtimes' errors have no common class.
        raise UserError(
            f"{name}: cannot be run on an image of {size} cells ({error}). Train or download it "
            "again."
        ) from error
    expected = (_channels(trained), *size)
    if scores.shape != expected:
        fault = f"have the shape {scores.shape}, not {expected}"
    elif not np.isfinite(scores).all():
        fault = "are not finite"
    elif np.all(scores == scores[:, :1, :1, :1]):
        fault = "are the same everywhere"
    else:
        return
    raise UserError(f"{name}: its scores of a trial image {fault}. Train or download it again.")


def _load_torch(
    files: Sequence[Path], threads: int | None, device: str
) -> tuple[Sequence[Trained], Forward]:
    import torch

    from vertseg.networks.devices import choose_device, keep_freed_memory
    from vertseg.networks.folding import fold_batch_norms
    from vertseg.networks.weights import load_network

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    place = choose_device(device)
    networks, trained = zip(*(load_network(file, place) for file in files), strict=True)
    if trained[0]["settings"]["crop"]:
        # Saves half the memory for scans larger than crops; the paper's rows keep their rounding.
        for network in networks:
            fold_batch_norms(network)

    classes = trained[0]["num_classes"]

    @torch.inference_mode()
    def forward(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(place)
        each = [network(batch)[0].float() for network in networks]
        scores = (one[:classes].log_softmax(dim=0) for one in each)
        mean = reduce(torch.logaddexp, scores).sub_(math.log(len(networks)))
        if len(each[0]) > classes:
            others = reduce(torch.add, (one[classes:] for one in each)) / len(networks)
            mean = torch.cat([mean, others])
        return mean.cpu().contiguous().numpy()

    return trained, forward


def _load_onnx(
    files: Sequence[Path], threads: int | None, device: str
) -> tuple[Sequence[Trained], Forward]:
    sessions, trained = zip(*(_onnx_session(file, threads) for file in files), strict=True)

    classes = trained[0]["num_classes"]

    def forward(images: np.ndarray) -> np.ndarray:
        each = [session.run(None, {"image": images})[0][0] for session in sessions]
        if len(sessions) == 1:
            return each[0]
        scores = (log_softmax(one[:classes], axis=0) for one in each)
        mean = reduce(np.logaddexp, scores)
        return np.concatenate([mean, np.mean([one[classes:] for one in each], axis=0)])

    return trained, forward


def _onnx_session(file: Path, threads: int | None) -> tuple[Any, Trained]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # The arena would keep the memory of the largest scan until the process ends.
    options.enable_cpu_mem_arena = False
    try:
        content = file.read_bytes()
        fault = weights_fault(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as an ONNX model ({error}).") from error
    if fault:
        raise UserError(f"{file}: {fault}. Train or download it again.")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # ONNX Runtime's errors have no common class.
        raise UserError(f"{file}: cannot be read as an ONNX model ({error}).") from error
    if "vertseg" not in metadata:
        raise UserError(f"{file}: an ONNX model, but not written by this program.")
    return session, parse_metadata(file, metadata["vertseg"])
