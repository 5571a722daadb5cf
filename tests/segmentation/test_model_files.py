"""Model files that are damaged, incomplete or useless: refused by name, in both formats."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from vertseg.core.errors import UserError
from vertseg.networks.metadata import FORMAT, parse_metadata
from vertseg.networks.registry import build_network
from vertseg.networks.weights import load_network, read_weights, save_weights
from vertseg.segmentation.model import load_model, load_models
from vertseg.segmentation.onnx_files import weights_fault

RANGE = {"spacing_mm": [[1, 1, 1], [2, 2, 2]], "extent_mm": [[80, 80, 80], [400, 400, 900]]}
METADATA = {
    "format": FORMAT,
    "network": "mobilenet_aspp",
    "options": {"aspp_rates": [1, 1, 1, 1]},
    "num_classes": 29,
    "settings": {"grid": {"spacing_mm": 4.0}, "crop": [16, 16, 16]},
    "training_range": RANGE,
}
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_weights(path, build_network("mobilenet_aspp", aspp_rates=[1, 1, 1, 1]), METADATA)
    return path


def small_onnx(
    path: Path,
    metadata: object = METADATA,
    classes: int = 29,
    edit: Callable | None = None,
    factor: float = 1,
) -> Path:
    """A convolution as an ONNX model; `edit` changes its weights, a factor its scores."""
    kernel = np.random.default_rng(0).normal(size=(classes, 1, 3, 3, 3)).astype(np.float32)
    if edit is not None:
        edit(kernel)
    size = ["batch", 1, "x", "y", "z"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1] * 6),
            helper.make_node("Mul", ["features", "factor"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes, *"xyz"])],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.float32(factor), "factor"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    helper.set_model_props(model, {"vertseg": text})
    onnx.save(model, path)
    return path


def changed(change: Change) -> dict[str, Any]:
    metadata = copy.deepcopy(METADATA)
    change(metadata)
    return metadata


def setting(name: str, value: object) -> Change:
    return lambda metadata: metadata["settings"].update({name: value})


def entry(name: str, value: object) -> Change:
    return lambda metadata: metadata.update({name: value})


FAULTS = [
    (entry("format", "other-1"), "not weights of the format"),
    (lambda metadata: metadata.pop("format"), "not weights of the format"),
    (lambda metadata: metadata.pop("settings"), "settings with grid and crop are missing"),
    (lambda metadata: metadata["settings"].pop("crop"), "settings with grid and crop are missing"),
    (entry("settings", [1]), "settings with grid and crop are missing"),
    (entry("num_classes", 1), "num_classes is 1"),
    (entry("num_classes", 10**9), "num_classes"),
    (entry("num_classes", True), "num_classes"),
    (setting("grid", {"spacing_mm": 0}), "grid"),
    (setting("grid", {"spacing_mm": 1e-4}), "grid"),
    (setting("grid", {"spacing_mm": float("nan")}), "grid"),
    (setting("grid", {"spacing_mm": 1e9}), "grid"),
    (setting("grid", {}), "grid"),
    (setting("grid", [128, 128]), "grid"),
    (setting("grid", [0, 128, 128]), "grid"),
    (setting("grid", [1024, 1024, 1024]), "grid"),
    (setting("grid", None), "grid"),
    (setting("crop", [0, 0, 0]), "crop"),
    (setting("crop", [40.5, 48, 72]), "crop"),
    (setting("crop", [512, 512, 512]), "crop"),
    (setting("crop", "large"), "crop"),
    (entry("training_range", {}), "training_range"),
    (entry("training_range", {**RANGE, "spacing_mm": [[2, 2, 2], [1, 1, 1]]}), "training_range"),
    (entry("training_range", {**RANGE, "extent_mm": [[1, 1, 1], [2, float("inf"), 2]]}),
     "training_range"),
    (entry("options", {"aspp_rates": [10**9] * 4}), "options"),
    (entry("auxiliary", ["offsets", "centres"]), "auxiliary"),
    (entry("auxiliary", ["depth"]), "auxiliary"),
    (entry("auxiliary", "centres"), "auxiliary"),
    (entry("auxiliary", [["centres"]]), "auxiliary"),
    (entry("sacrum", 1), "sacrum"),
    (lambda metadata: metadata.update({"num_classes": 20, "sacrum": True}), "sacrum"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_unfit_metadata_are_refused_for_both_runtimes(
    weights: Path, tmp_path: Path, change: Change, message: str
) -> None:
    metadata = changed(change)
    paths = [tmp_path / "a.safetensors", small_onnx(tmp_path / "a.onnx", metadata)]
    save_file(load_file(weights), paths[0], {"vertseg": json.dumps(metadata)})
    for path in paths:
        with pytest.raises(UserError, match=rf"{path.name}: .*{message}"):
            load_model(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 100_000])
def test_metadata_that_are_no_object(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="not weights of the format"):
        parse_metadata("a.onnx", text)
    with pytest.raises(UserError, match="not weights of the format"):
        load_model(small_onnx(tmp_path / "a.onnx", text))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(weights: Path, tmp_path: Path, value: float) -> None:
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 5)
    tensors[name].view(-1)[3] = value
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, {"vertseg": json.dumps(METADATA)})
    for read in (load_model, load_network, lambda file: read_weights(file, FORMAT)):
        with pytest.raises(UserError, match=rf"a\.safetensors: the weights {name} hold values"):
            read(path)
    small_onnx(tmp_path / "a.onnx", edit=lambda kernel: kernel.put(7, value))
    with pytest.raises(UserError, match=r"a\.onnx: the weights kernel hold values that are not"):
        load_model(tmp_path / "a.onnx")


def test_weights_of_zeros(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights)
    for tensor in tensors.values():
        if tensor.ndim == 5:
            tensor.zero_()
            break
    save_file(tensors, tmp_path / "a.safetensors", {"vertseg": json.dumps(METADATA)})
    small_onnx(tmp_path / "a.onnx", edit=lambda kernel: kernel.fill(0))
    for name in ("a.safetensors", "a.onnx"):
        with pytest.raises(UserError, match=rf"{name}: the weights .* are all 0"):
            load_model(tmp_path / name)


def test_weights_of_another_type(weights: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.double() for name, tensor in load_file(weights).items()}
    save_file(tensors, tmp_path / "a.safetensors", {"vertseg": json.dumps(METADATA)})
    with pytest.raises(UserError, match=r"do not fit.*type torch\.float64"):
        load_model(tmp_path / "a.safetensors")


def test_scores_of_another_shape_or_without_use(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"a\.onnx: its scores .* shape \(1, 16, 16, 16\), not \(29"
    ):
        load_model(small_onnx(tmp_path / "a.onnx", classes=1))

    with pytest.raises(UserError, match=r"a\.onnx: its scores of a trial image are the same"):
        load_model(small_onnx(tmp_path / "a.onnx", factor=0))
    with pytest.raises(UserError, match=r"scores of a trial image are not finite"):
        load_model(small_onnx(tmp_path / "a.onnx", edit=lambda kernel: kernel.fill(3e38)))


def test_a_sound_model_is_loaded_and_a_missing_range_is_said(weights, tmp_path, caplog) -> None:
    assert load_model(weights).trained["training_range"] == RANGE
    assert load_model(small_onnx(tmp_path / "a.onnx")).crop == [16, 16, 16]
    assert not caplog.text
    load_model(small_onnx(tmp_path / "b.onnx", changed(lambda m: m.pop("training_range"))))
    assert "b: states no range of its training scans" in caplog.text


def test_models_that_predict_together_are_alike(weights: Path, tmp_path: Path) -> None:
    other = changed(setting("grid", {"spacing_mm": 3.0}))
    paths = [small_onnx(tmp_path / "a.onnx"), small_onnx(tmp_path / "b.onnx", other)]
    with pytest.raises(UserError, match=r"b\.onnx: grid, crop, number of classes"):
        load_models(paths)
    with pytest.raises(UserError, match="models of one suffix"):
        load_models([paths[0], weights])


def test_random_metadata_end_in_named_errors_alone() -> None:
    rng = random.Random(0)
    values = [None, True, 0, 1, -1, 29, 1e300, float("nan"), float("inf"), 10**30, "", "x", [], {},
              [1, 2, 3], [[1, 1, 1], [2, 2, 2]], {"spacing_mm": 3}]  # fmt: skip
    loaded = 0
    for _ in range(600):
        metadata = copy.deepcopy(METADATA)
        place: Any = metadata
        while True:
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.5:
                break
            place = place[key]
        if isinstance(place, dict) and rng.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(rng.choice(values))
        text = json.dumps(metadata)
        if rng.random() < 0.5:
            at = rng.randrange(len(text))
            text = text[:at] + chr(rng.randrange(32, 127)) + text[at + 1 :]
        try:
            parsed = parse_metadata("a.onnx", text)
        except UserError as error:
            assert str(error).startswith("a.onnx: ")
        else:
            loaded += 1
            assert 2 <= parsed["num_classes"] <= 29
    assert loaded > 30, "harmless changes are no faults"


def test_flipped_bits_of_weights_files_end_in_named_errors_alone(weights, tmp_path) -> None:
    rng = random.Random(0)
    whole = weights.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "flipped.safetensors"
    refused = 0
    for number in range(12):
        damaged = bytearray(whole)
        at = rng.randrange(8, head) if number % 3 else rng.randrange(head, len(whole))
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if number % 10 else damaged[: rng.randrange(len(whole))])
        try:
            load_network(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 4


def test_flipped_bits_of_onnx_files_never_escape_the_check_of_weights(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = small_onnx(tmp_path / "a.onnx").read_bytes()
    assert weights_fault(whole) is None
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            weights_fault(bytes(damaged[: rng.randrange(len(damaged))]))
        except ValueError:
            continue
