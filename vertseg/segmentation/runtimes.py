"""Libraries that run a trained network: OpenVINO, ONNX Runtime and PyTorch.

All compute in single precision, and differ by its rounding. Each is imported only when it is used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from vertseg.core.errors import UserError
from vertseg.core.imports import left_out
from vertseg.core.parallel import in_threads, usable_cores
from vertseg.networks.metadata import parse_metadata
from vertseg.segmentation.grid import interpolate, interpolation_matrix
from vertseg.segmentation.onnx_files import file_metadata, weights_fault
from vertseg.segmentation.settings import RUNTIMES, FormatName, RuntimeName

Trained = dict[str, Any]
Forward = Callable[[np.ndarray], np.ndarray]
Loader = Callable[[Sequence[Path], int | None, str], tuple[Sequence[Trained], Forward]]

LINEAR = {
    "mode": "linear_onnx",
    "coordinate_transformation_mode": "half_pixel",
    "antialias": False,
    "pads_begin": [0] * 5,
    "pads_end": [0] * 5,
}
"""Attributes of an OpenVINO node that interpolates linearly, with cells between their borders."""

PACKAGES: dict[RuntimeName, str] = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "torch": "torch",
}


def installed_runtime(form: FormatName) -> RuntimeName | None:
    """The preferred one of the installed libraries that run a format of model files, if any."""
    return next((one for one in RUNTIMES[form] if find_spec(PACKAGES[one])), None)


def load_torch(
    files: Sequence[Path], threads: int | None, device: str
) -> tuple[Sequence[Trained], Forward]:
    """Networks run by PyTorch: metadata of each, and their joint forward pass.

    Args:
        files: `.safetensors` files.
        threads: number of threads; None: as many as PyTorch chooses.
        device: cpu, cuda, cuda:1, auto.

    Raises:
        UserError: a file is not a model.
    """
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


def load_onnx(
    files: Sequence[Path], threads: int | None, device: str
) -> tuple[Sequence[Trained], Forward]:
    """Networks run by ONNX Runtime, on the CPU: metadata of each, and their joint forward pass.

    Args:
        files: `.onnx` files.
        threads: number of threads; None: as many as there are cores.
        device: not used.

    Raises:
        UserError: a file is not a model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # The arena would keep the memory of the largest scan until the process ends.
    options.enable_cpu_mem_arena = False

    def loaded(content: bytes) -> Forward:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        return lambda images: session.run(None, {"image": images})[0][0]

    return _load_each(files, loaded)


def load_openvino(
    files: Sequence[Path], threads: int | None, device: str
) -> tuple[Sequence[Trained], Forward]:
    """Networks run by OpenVINO, on the CPU: metadata of each, and their joint forward pass.

    Arguments and errors as of `load_onnx`.
    """
    openvino = _openvino()
    core = openvino.Core()
    options: dict[str, Any] = {
        # By default it computes with 16 bits where the processor has such instructions.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # Jobs side by side would all be pinned to the first cores.
        "ENABLE_CPU_PINNING": False,
        **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
    }

    def loaded(content: bytes) -> Forward:
        network = core.read_model(content)
        return _OpenVinoNetwork(openvino, core, network, options, threads or usable_cores())

    return _load_each(files, loaded)


class _OpenVinoNetwork:
    """A network compiled for the shape of its last image.

    A network of one shape runs faster than one of any, and in half of the memory; compiling it
    takes a quarter of a second. Chunks of a scan, and scans alike, share their shape.

    A network that ends by enlarging its scores to the image's cells runs without that step, which
    matrix products do in a fifth of the time, after the memory of all else has been released.
    """

    def __init__(
        self, openvino: Any, core: Any, network: Any, options: Mapping[str, Any], threads: int
    ) -> None:
        self.core, self.network, self.options, self.threads = core, network, options, threads
        last = network.output(0).get_node().input_value(0).get_node()
        self.is_enlarged_after = (
            last.get_type_name() == "Interpolate"
            and LINEAR.items() <= last.get_attributes().items()
        )
        if self.is_enlarged_after:
            self.network = openvino.Model([last.input_value(0)], network.get_parameters())
        self.shape: tuple[int, ...] = ()
        self.compiled: Any = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images.shape != self.shape:
            self.compiled = None
            self.network.reshape(images.shape)
            self.compiled = self.core.compile_model(self.network, "CPU", self.options)
            self.shape = images.shape
        # Shared outputs are those of this request alone: nothing else writes into them.
        scores = self.compiled.create_infer_request().infer([images], share_outputs=True)[0][0]
        self.compiled.release_memory()
        if not self.is_enlarged_after:
            return scores
        return _enlarged(scores, images.shape[2:], self.threads)


def _enlarged(scores: np.ndarray, cells: Sequence[int], threads: int) -> np.ndarray:
    """Scores (channels, x, y, z) interpolated to so many cells (X, Y, Z), as `LINEAR` says."""
    outputs = np.empty((len(scores), *cells), np.float32)
    matrices = [interpolation_matrix(*n) for n in zip(scores.shape[1:], cells, strict=True)]

    def enlarge(given: np.ndarray, wanted: np.ndarray) -> None:
        wanted[:] = interpolate(given, matrices)

    in_threads(enlarge, zip(scores, outputs, strict=True), threads)
    return outputs


def _openvino() -> Any:
    """The library, without its converter of models, whose import reports to the manufacturer."""
    with left_out("openvino.tools.ovc"):
        import openvino

    return openvino


def _load_each(
    files: Sequence[Path], loaded: Callable[[bytes], Forward]
) -> tuple[Sequence[Trained], Forward]:
    """Metadata of ONNX files, and the joint forward pass of their networks.

    Args:
        files: the files.
        loaded: makes a network of a file's content.

    Raises:
        UserError: a file is not a model.
    """
    trained, networks = [], []
    for file in files:
        try:
            content = file.read_bytes()
            fault, metadata = weights_fault(content), file_metadata(content)
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read as an ONNX model ({error}).") from error
        if fault:
            raise UserError(f"{file}: {fault}. Train or download it again.")
        try:
            networks.append(loaded(content))
        except Exception as error:  # Runtimes' errors have no common class.
            raise UserError(f"{file}: cannot be read as an ONNX model ({error}).") from error
        if "vertseg" not in metadata:
            raise UserError(f"{file}: an ONNX model, but not written by this program.")
        trained.append(parse_metadata(file, metadata["vertseg"]))
    classes = trained[0]["num_classes"]

    def forward(images: np.ndarray) -> np.ndarray:
        each = [network(images) for network in networks]
        if len(networks) == 1:
            return each[0]
        scores = (log_softmax(one[:classes], axis=0) for one in each)
        mean = reduce(np.logaddexp, scores) - np.float32(math.log(len(networks)))
        return np.concatenate([mean, np.mean([one[classes:] for one in each], axis=0)])

    return trained, forward


LOADERS: dict[RuntimeName, Loader] = {
    "openvino": load_openvino,
    "onnx": load_onnx,
    "torch": load_torch,
}
"""What loads networks for each runtime."""
