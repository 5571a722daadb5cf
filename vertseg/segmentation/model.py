"""Trained networks for prediction, run by OpenVINO, ONNX Runtime or PyTorch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256
from vertseg.core.logs import logger
from vertseg.networks.metadata import output_channels
from vertseg.segmentation.runtimes import (
    LOADERS,
    Forward,
    Trained,
    installed_runtime,
)
from vertseg.segmentation.settings import RUNTIMES, SHIPPED_FILES, SUFFIXES, RuntimeName

TRIAL_CELLS = 32
"""Largest size, along each axis, of the image that a network of whole scans is tried on."""


@dataclass(frozen=True)
class Model:
    """A network, or several that predict together, ready to run.

    Attributes:
        name: name of the file without its suffix; for several networks, all names.
        sha256: checksum of the file; for several networks, all checksums.
        runtime: library that runs the network.
        precision: type of the numbers that it computes with.
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
    precision: str = "float32"

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
        path: a `.safetensors` or `.onnx` file; by default the shipped model. PyTorch runs the
            former; OpenVINO, if it is installed, or ONNX Runtime runs the latter.
        threads: number of threads; all cores by default.
        device: device for PyTorch (cpu, cuda, cuda:1, auto); the others always use the CPU.

    Raises:
        UserError: the file is missing or not a model, or its runtime is not installed; its metadata
            are incomplete or out of bounds; its weights are not finite or 0; or, unless it is the
            shipped model, its scores of a trial image have another shape than its metadata say,
            are not finite, or are the same everywhere.
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
    each, forward = LOADERS[runtime](files, threads, device)
    trained = _common(files, each)
    name = "+".join(file.stem for file in files)
    # Each process of a call would try it: it was tried before it was shipped.
    if not set(files) <= set(SHIPPED_FILES.values()):
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
        UserError: no runtime is installed.
    """
    for form, file in SHIPPED_FILES.items():
        if installed_runtime(form):
            return file
    raise UserError(
        "Neither OpenVINO, ONNX Runtime nor PyTorch is installed: pip install "
        '"vertseg[openvino]" (the fastest), "vertseg[onnx]" (the smallest) or "vertseg[torch]".'
    )


def _runtime(file: Path) -> RuntimeName:
    """Library that runs a model file; both are checked to be there."""
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: a model is a .safetensors or an .onnx file.")
    if not file.is_file():
        raise UserError(f"{file}: no such model. Check --model.")
    form = SUFFIXES[file.suffix]
    if runtime := installed_runtime(form):
        return runtime
    extras = " or ".join(f'"vertseg[{one}]"' for one in RUNTIMES[form])
    raise UserError(f"{file}: no library that runs it is installed: pip install {extras}.")


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
