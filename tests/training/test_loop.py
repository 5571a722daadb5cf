import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from recipes import recipe_values
from safetensors.numpy import save_file

from vertseg.core.errors import UserError
from vertseg.networks.registry import build_network
from vertseg.networks.weights import load_initial_weights, load_network, save_weights
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridTransform
from vertseg.training.checkpoint import fingerprint
from vertseg.training.loop import train
from vertseg.training.settings import TrainingSettings

SETTINGS = recipe_values(
    "mobilenet",
    iterations=30,
    learning_rate=0.005,
    checkpoint_every=4,
    validate_every=10,
    validation_scans=1,
    num_classes=5,
    grid=[8, 8, 16],
)
RUN = """
import sys, torch
from pathlib import Path
from vertseg.training.loop import train
from vertseg.training.settings import TrainingSettings
torch.set_num_threads(1)
folder, *caches = map(Path, sys.argv[1:])
train(TrainingSettings.from_config({settings}), caches[1:], caches[:1], folder)
"""


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six scans whose labels are bands of brightness along z."""
    folder = tmp_path_factory.mktemp("caches")
    rng = np.random.default_rng(0)
    shape = (8, 8, 16)
    label = np.broadcast_to(np.repeat(np.arange(4), 4), shape).astype(np.uint8).copy()
    paths = []
    for index in range(6):
        image = (label / 2 - 1 + rng.normal(0, 0.05, shape)).astype(np.float16)
        transform = GridTransform(shape, Geometry(shape, np.eye(4)))
        paths.append(folder / f"scan{index}.safetensors")
        write_cache(paths[-1], CachedScan(f"scan{index}", image, label, transform))
    return paths


def command(folder: Path, caches: list[Path]) -> list[str]:
    return [sys.executable, "-c", RUN.format(settings=SETTINGS), str(folder), *map(str, caches)]


def run(folder: Path, caches: list[Path]) -> bytes:
    """Train in a process of its own; the bytes of the weights."""
    subprocess.run(command(folder, caches), cwd=ROOT, check=True, env=os.environ)
    return (folder / "weights.safetensors").read_bytes()


def losses_in(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader((folder / "log.csv").open())]


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, caches: list[Path]) -> None:
    whole = run(tmp_path / "whole", caches)
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(killed, caches), cwd=ROOT, env=os.environ)
    deadline = time.monotonic() + 60
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert run(killed, caches) == whole
    assert not (killed / "checkpoint.pt").exists()
    rows = list(csv.DictReader((killed / "log.csv").open()))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 31))
    assert [row["iteration"] for row in rows if row["validation_loss"]] == ["10", "20", "30"]


def test_training_learns(tmp_path: Path, caches: list[Path]) -> None:
    settings = TrainingSettings.from_config(SETTINGS | {"iterations": 60, "checkpoint_every": 50})
    train(settings, caches[1:], caches[:1], tmp_path)
    losses = losses_in(tmp_path)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    network, metadata = load_network(tmp_path / "weights.safetensors")
    assert not network.training
    assert metadata["iterations"] == 60 and metadata["settings"]["grid"] == [8, 8, 16]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_precisions_and_schedules_run(
    tmp_path: Path, caches: list[Path], precision: str, schedule: str
) -> None:
    changes = {"iterations": 2, "precision": precision, "schedule": schedule}
    settings = TrainingSettings.from_config(SETTINGS | changes)
    train(settings, caches[1:], [], tmp_path)
    log = csv.DictReader((tmp_path / "log.csv").open())
    rates = [float(row["learning_rate"]) for row in log]
    assert rates == pytest.approx([0.005, 0.005 if schedule == "constant" else 0.0025])


def test_a_damaged_checkpoint_is_not_used(
    tmp_path: Path, caches: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    settings = TrainingSettings.from_config(SETTINGS | {"iterations": 2})
    with caplog.at_level("WARNING", logger="vertseg"):
        train(settings, caches, [], tmp_path)
    assert "checkpoint.pt is damaged" in caplog.text
    assert (tmp_path / "weights.safetensors").is_file()


@pytest.mark.parametrize("changed", ["settings", "scans", "code", "initial weights"])
def test_a_checkpoint_is_of_its_settings_scans_and_code(
    tmp_path: Path, caches: list[Path], changed: str
) -> None:
    first = tmp_path / "first.safetensors"
    first.write_bytes(b"one")
    settings = TrainingSettings.from_config(SETTINGS | {"initial_weights": str(first)})
    before = fingerprint(settings, "fp32", "code", caches)
    assert fingerprint(settings, "fp32", "code", caches) == before
    scans, code = caches, "code"
    if changed == "settings":
        settings = replace(settings, learning_rate=0.1)
    elif changed == "initial weights":
        first.write_bytes(b"two")
    elif changed == "code":
        code = "other code"
    elif changed == "scans":
        scans = caches[:-1]
    assert fingerprint(settings, "fp32", code, scans) != before


def test_a_run_goes_on_from_a_trained_network(tmp_path: Path, caches: list[Path]) -> None:
    first, second = (tmp_path / name / "weights.safetensors" for name in ("first", "second"))
    options = {"iterations": 40, "checkpoint_every": 50}
    train(TrainingSettings.from_config(SETTINGS | options), caches, [], first.parent)
    learned = losses_in(first.parent)
    options |= {"iterations": 1, "learning_rate": 1e-12, "initial_weights": str(first)}
    train(TrainingSettings.from_config(SETTINGS | options), caches, [], second.parent)
    assert losses_in(second.parent)[0] < 0.8 * learned[0]
    before, after = (dict(load_network(path)[0].named_parameters()) for path in (first, second))
    for name, parameter in before.items():
        torch.testing.assert_close(after[name], parameter, atol=1e-6, rtol=0)
    _, trained = load_network(second)
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert trained["initial_weights"] == {"file": "weights.safetensors", "sha256": digest}
    assert load_network(first)[1]["initial_weights"] is None


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"network": "unet"}, "network is unet"),
        ({"num_classes": 6}, "num_classes is 6"),
        ({"network": "mobilenet_aspp", "options": {"aspp_rates": [1, 1, 1, 1]}}, "network is"),
    ],
)
def test_initial_weights_must_be_of_the_same_network(
    tmp_path: Path, caches: list[Path], other: dict, what: str
) -> None:
    path = tmp_path / "other.safetensors"
    kind = {"network": "mobilenet", "options": {}, "num_classes": 5} | other
    network = build_network(kind["network"], kind["num_classes"], **kind["options"])
    save_weights(path, network, kind)
    settings = TrainingSettings.from_config(SETTINGS | {"initial_weights": str(path)})
    with pytest.raises(UserError, match=what):
        train(settings, caches, [], tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_initial_weights_of_other_options_or_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "aspp.safetensors"
    options = {"aspp_rates": [1, 2, 4, 8]}
    kind = {"network": "mobilenet_aspp", "options": options, "num_classes": 5}
    network = build_network("mobilenet_aspp", 5, **options)
    save_weights(path, network, kind)
    other = build_network("mobilenet_aspp", 5, aspp_rates=[2, 4, 8, 16], checkpointing=True)
    with pytest.raises(UserError, match="network_options"):
        load_initial_weights(other, path, "mobilenet_aspp", {"aspp_rates": [2, 4, 8, 16]}, 5)
    same_but = options | {"checkpointing": True}
    load_initial_weights(other, path, "mobilenet_aspp", same_but, 5)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        load_initial_weights(other, tmp_path / "gone.safetensors", "mobilenet_aspp", options, 5)


def test_auxiliary_outputs_are_learned_from_a_network_without_them(
    tmp_path: Path, caches: list[Path]
) -> None:
    first, second = (tmp_path / name / "weights.safetensors" for name in ("first", "second"))
    train(TrainingSettings.from_config(SETTINGS | {"iterations": 2}), caches, [], first.parent)
    options = {
        "iterations": 40,
        "checkpoint_every": 50,
        "auxiliary": ["centres", "offsets"],
        "initial_weights": str(first),
    }
    settings = TrainingSettings.from_config(SETTINGS | options)
    train(settings, caches[1:], caches[:1], second.parent)
    losses = losses_in(second.parent)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    network, trained = load_network(second)
    assert trained["auxiliary"] == ["centres", "offsets"] and trained["sacrum"] is False
    assert network(torch.zeros(1, 1, 8, 8, 16)).shape[1] == 5 + 4
    fewer = TrainingSettings.from_config(
        SETTINGS | {"auxiliary": ["offsets"], "initial_weights": str(second)}
    )
    with pytest.raises(UserError, match=r"must begin"):
        train(fewer, caches, [], tmp_path)


def test_added_outputs_alone_are_fresh(tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    network = build_network("unet", 5)
    save_weights(path, network, {"network": "unet", "options": {}, "num_classes": 5})
    grown = build_network("unet", 8)
    fresh = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    load_initial_weights(grown, path, "unet", {}, 5, ["offsets"])
    for name, tensor in network.state_dict().items():
        now = grown.state_dict()[name]
        if now.shape == tensor.shape:
            assert torch.equal(now, tensor)
        else:
            assert torch.equal(now[:5], tensor) and torch.equal(now[5:], fresh[name][5:])


def test_mistakes_are_explained(tmp_path: Path, caches: list[Path]) -> None:
    with pytest.raises(UserError, match="training: unknown setting learning_rat"):
        TrainingSettings.from_config(SETTINGS | {"learning_rat": 1})
    with pytest.raises(UserError, match="training: missing setting network_options, grid"):
        TrainingSettings.from_config({"network": "unet"})
    settings = TrainingSettings.from_config(SETTINGS)
    with pytest.raises(UserError, match="batch_size"):
        train(settings, caches[:3], [], tmp_path)
    save_file({"x": np.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"foreign\.safetensors"):
        train(settings, [*caches, tmp_path / "foreign.safetensors"], [], tmp_path)
    with pytest.raises(UserError, match=r"foreign\.safetensors"):
        load_network(tmp_path / "foreign.safetensors")
