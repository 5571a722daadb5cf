"""nnU-Net as an engine: what needs no nnU-Net. tests/nnunet/test_nnunet_run.py runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes import PAPER, nnunet_recipe
from torch import nn

from vertseg.anatomy.labels import NAMES
from vertseg.core.errors import UserError
from vertseg.dataset.folds import EXTERNAL
from vertseg.networks.weights import read_weights, save_weights, shared_names
from vertseg.nnunet.dataset import (
    check_names,
    dataset_json,
    from_nnunet,
    save_raw,
    splits,
    stored_ct,
    to_nnunet,
)
from vertseg.nnunet.settings import NnunetSettings, PlanSettings
from vertseg.scans.nifti import load_ct

WORKER_FAILS = """
import multiprocessing, sys
from vertseg.nnunet.process import nnunet_log

def work():
    raise OSError("the disk is full")

if __name__ == "__main__":
    with nnunet_log(sys.argv[1]):
        print("\\n".join(f"epoch {number}" for number in range(100)), flush=True)
        worker = multiprocessing.get_context("spawn").Process(target=work)
        worker.start()
        worker.join()
        raise RuntimeError("Some background worker is missing")
"""


CANCELLED = """
import multiprocessing, sys, time
from vertseg.nnunet.process import nnunet_log

def work():
    time.sleep(600)

if __name__ == "__main__":
    with nnunet_log(sys.argv[1]):
        worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
        worker.start()
        print("worker", worker.pid, flush=True)
        time.sleep(600)
"""


class TestLabels:
    def test_values_are_consecutive_and_t13_is_the_last(self) -> None:
        labels = dataset_json(3)["labels"]
        assert labels["background"] == 0
        assert sorted(labels.values()) == list(range(27))
        assert (labels["C1"], labels["L6"], labels["T13"]) == (1, 25, 26)
        assert labels.keys() - {"background"} == set(NAMES.values())

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([0, *NAMES]), min_size=1))
    def test_the_way_back_is_exact(self, values: list[int]) -> None:
        verse = np.array(values, np.uint8)
        np.testing.assert_array_equal(from_nnunet(to_nnunet(verse)), verse)

    def test_values_map_by_name(self) -> None:
        labels = dataset_json(1)["labels"]
        for verse, name in NAMES.items():
            assert to_nnunet(np.array([verse]))[0] == labels[name]

    def test_other_values_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\[26, 29\]"):
            to_nnunet(np.array([0, 26, 29]))


class TestSplits:
    FOLDS = {"d": "1", "a": "0", "b": "1", "c": "2", "x": EXTERNAL}  # noqa: RUF012

    def test_each_scan_is_held_out_once_by_its_fold(self) -> None:
        assert splits(self.FOLDS, ["c", "a", "d", "b"], 3) == [
            {"train": ["b", "c", "d"], "val": ["a"]},
            {"train": ["a", "c"], "val": ["b", "d"]},
            {"train": ["a", "b", "d"], "val": ["c"]},
        ]

    def test_scans_without_a_fold_are_refused(self) -> None:
        with pytest.raises(UserError, match="no fold for new, x"):
            splits(self.FOLDS, ["a", "b", "c", "x", "new"], 3)

    def test_a_fold_that_holds_nothing_out_is_refused(self) -> None:
        with pytest.raises(UserError, match="Fold 3"):
            splits(self.FOLDS, ["a", "b", "c"], 4)

    def test_names_that_nnunet_would_mistake_are_refused(self) -> None:
        check_names(["scan.1", "seg_2"])
        with pytest.raises(UserError, match="scan_seg"):
            check_names(["a", "scan_seg"])


class TestRawScans:
    def test_axes_are_ras_and_values_stay(self, save_nifti, tmp_path: Path) -> None:
        hu = np.arange(-500, 4 * 5 * 6 - 500, dtype=np.int16).reshape(4, 5, 6)
        affine = np.array([[0, 0, -2, 10], [0, -3, 0, 20], [4, 0, 0, 30], [0, 0, 0, 1.0]])
        ct = load_ct(save_nifti("ct.nii.gz", hu, affine))
        save_raw(tmp_path / "raw.nii.gz", stored_ct(ct.array), ct)
        raw = nib.load(tmp_path / "raw.nii.gz")
        assert nib.aff2axcodes(raw.affine) == ("R", "A", "S")
        np.testing.assert_allclose(raw.header.get_zooms(), (2, 3, 4))
        assert raw.get_data_dtype() == np.int16
        # The same voxel of the scanner's space holds the same value in both files.
        for voxel in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
            there = np.linalg.inv(raw.affine) @ affine @ (*voxel, 1)
            assert raw.dataobj[tuple(np.rint(there[:3]).astype(int))] == hu[voxel]

    def test_values_beyond_int16_are_kept(self) -> None:
        wide = np.array([0, 40_000], np.int32)
        np.testing.assert_array_equal(stored_ct(wide), [0, 40_000])
        assert stored_ct(np.array([0.5], np.float32))[0] == 0.5


def test_settings_are_the_papers_unless_stated() -> None:
    settings = nnunet_recipe()
    assert (settings.epochs, settings.iterations, settings.flips) == (200, 50_000, False)
    plan = PlanSettings.from_config(PAPER["nnunet"]["plan"] | {"patch_size": [16, 24, 32]})
    assert plan.patch_size == (16, 24, 32) and plan.spacing_mm is None
    with pytest.raises(UserError, match="nnunet: unknown setting epoch"):
        nnunet_recipe(epoch=3)
    with pytest.raises(UserError, match=r"nnunet: missing setting network, .*epochs"):
        NnunetSettings.from_config({"flips": True})


def test_weights_in_the_same_memory_are_stored_once(tmp_path: Path) -> None:
    """As in nnU-Net's networks, whose decoder knows the encoder."""
    encoder = nn.Linear(2, 3)
    network = nn.ModuleDict({"encoder": encoder, "decoder": nn.Sequential(encoder, nn.ReLU())})
    shared = shared_names(network)
    assert shared["decoder.0.weight"] == "encoder.weight" == shared["encoder.weight"]
    save_weights(tmp_path / "w.safetensors", network, {"epochs": 2}, "test-1")
    tensors, metadata = read_weights(tmp_path / "w.safetensors", "test-1")
    assert set(tensors) == {"encoder.weight", "encoder.bias"}
    assert metadata["parameters"] == 9 and metadata["epochs"] == 2
    torch.testing.assert_close(tensors["encoder.bias"], encoder.bias.detach())
    with pytest.raises(UserError, match=r"w\.safetensors: not weights of .*-2, but of test-1"):
        read_weights(tmp_path / "w.safetensors", "test-2")


def test_a_workers_failure_is_told_with_the_logs_tail(tmp_path: Path) -> None:
    script, log = tmp_path / "step.py", tmp_path / "logs/step.log"
    script.write_text(WORKER_FAILS)
    done = subprocess.run(
        [sys.executable, str(script), str(log)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "nnU-Net failed: Some background worker is missing" in done.stderr
    assert str(log) in done.stderr
    assert "OSError: the disk is full" in done.stderr
    assert "epoch 1\n" not in done.stderr
    assert "epoch 1\n" in log.read_text()


def test_a_cancelled_step_takes_its_workers_along(tmp_path: Path) -> None:
    script, log = tmp_path / "step.py", tmp_path / "step.log"
    script.write_text(CANCELLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script), str(log)], env=environment)
    deadline = time.monotonic() + 120
    started = None
    while not started and time.monotonic() < deadline:
        time.sleep(0.05)
        started = log.exists() and re.search(r"^worker (\d+)\n", log.read_text(), re.M)
    assert started
    worker = int(started[1])
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def run_step(folder: Path, timeout_s: float, code: str) -> str:
    """Run a script, whose argument is the path of its log, to its end; its log."""
    script, log = folder / "step.py", folder / "log"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(log)]
    subprocess.run(command, env=environment, check=True, timeout=timeout_s)
    return log.read_text()


def test_a_worker_that_has_hardly_started_ends_too(tmp_path: Path) -> None:
    """The step ends while its worker is still being set up."""
    run_step(
        tmp_path,
        60,
        "import multiprocessing, os, sys, time\n"
        "from vertseg.nnunet.process import nnunet_log\n"
        "os.register_at_fork(after_in_child=lambda: time.sleep(1))\n"
        "fork = multiprocessing.get_context('fork')\n"
        "with nnunet_log(sys.argv[1]):\n"
        "    fork.Process(target=time.sleep, args=[600], daemon=True).start()\n",
    )


def test_a_pools_workers_end_at_once(tmp_path: Path) -> None:
    """A worker that handles the signal would not if it were about to wait for a lock."""
    log = run_step(
        tmp_path,
        120,
        "import multiprocessing, signal, sys\n"
        "from vertseg.nnunet.process import nnunet_log\n"
        "with nnunet_log(sys.argv[1]), multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.apply(signal.getsignal, [signal.SIGTERM]).name)\n",
    )
    assert log.endswith("SIG_DFL\n")


def test_a_missing_nnunet_is_explained(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/nnunet_preprocess.py"), str(tmp_path / "log")]
    done = subprocess.run(
        [*command, "--processes", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make .venv-nnunet/ready" in done.stderr and sys.executable in done.stderr
    assert "Traceback" not in done.stderr


def test_the_data_sets_description_is_json() -> None:
    assert json.loads(json.dumps(dataset_json(61)))["numTraining"] == 61
