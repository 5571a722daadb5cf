"""nnU-Net itself: its rows beside our own on miniature phantoms, and what may go wrong.

Needs nnU-Net's own environment (`make .venv-nnunet/ready`).
"""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_workflow, snakemake
from recipes import nnunet_recipe

from vertseg.anatomy.labels import NAMES
from vertseg.phantom import generate_phantom, preset, write_verse_scan

pytestmark = [pytest.mark.workflow, pytest.mark.nnunet]

PYTHON = ROOT / ".venv-nnunet/bin/python"
CONFIG = ["--configfile", "config/miniature.yaml", "config/miniature_nnunet.yaml"]
STATED = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
NNUNET_METHODS = [key for key, method in STATED.items() if method.get("engine") == "nnunet"]
# One of our own beside them: tests/workflow/test_workflow.py runs the others.
METHODS = {key: STATED[key] for key in STATED if key in ("mobilenet_aspp", *NNUNET_METHODS)}
TRAINED = "Dataset001_vertebrae/Trainer__nnUNetPlans__3d_fullres/fold_0"


TRANSFORMS = """
import json, sys
from vertseg.nnunet.planning import preprocessed_folder, read_plans
from vertseg.nnunet.settings import NnunetSettings
from vertseg.nnunet.trainer import make_trainer

dataset = json.loads((preprocessed_folder() / "dataset.json").read_text())
for values in json.loads(sys.argv[1]):
    settings = NnunetSettings.from_config(values)
    trainer = make_trainer(settings, 0, read_plans(), dataset, sys.stderr)
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()
    names = [type(part).__name__ for part in loader.data_loader.transforms.transforms]
    print("mirror:", "MirrorTransform" in names)
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all methods of nnU-Net and one of our own: the folder it ran in."""
    if not PYTHON.is_file():
        pytest.skip(f"nnU-Net is not installed ({PYTHON}): make .venv-nnunet/ready")
    folder = copy_workflow(tmp_path_factory.mktemp("nnunet"))
    config = yaml.safe_load((ROOT / "tests/workflow/miniature_nnunet.yaml").read_text())
    config["nnunet"]["python"] = str(PYTHON)
    config["skip_methods"] = [key for key in STATED if key not in METHODS]
    (folder / "config/miniature_nnunet.yaml").write_text(yaml.safe_dump(config))
    started = time.time()
    snakemake(folder, *CONFIG)
    package = next(PYTHON.parents[1].glob("lib/python*/site-packages/nnunetv2"))
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert files and not [path for path in files if path.stat().st_mtime > started]
    return folder


@pytest.fixture(scope="module")
def results(workflow: Path) -> Path:
    return workflow / "results/miniature"


def environment(workflow: Path, results: Path, **changes: Path) -> dict[str, str]:
    """Settings that the rules give nnU-Net, to run its scripts without them."""
    nnunet = workflow / "results/miniature/nnunet"
    folders = {
        "nnUNet_raw": nnunet / "raw",
        "nnUNet_preprocessed": nnunet / "preprocessed",
        "nnUNet_results": results,
    } | changes
    numbers = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2"}
    paths = {name: str(path) for name, path in folders.items()}
    return {**os.environ, "PYTHONPATH": str(workflow), **numbers, **paths}


def training(workflow: Path, folder: Path, fold: int) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that train the method `nnunet` into another folder."""
    recorded = workflow / "results/miniature/models/nnunet/fold0/settings.json"
    settings = json.loads(recorded.read_text())["settings"]
    command = [
        str(PYTHON), str(workflow / "scripts/nnunet_train.py"), str(folder / "log"),
        "--settings", json.dumps(settings), "--fold", str(fold), "--threads", "1",
        "--folder", str(folder / "model"),
    ]  # fmt: skip
    return command, environment(workflow, folder / "own") | {"nnUNet_n_proc_DA": "0"}


def test_one_command_gives_nnunets_rows_beside_our_own(results: Path) -> None:
    table = pd.read_csv(results / "table1.csv").set_index("key")
    assert list(table.index) == list(METHODS)
    assert (table["n_scans"] == 3).all()
    assert np.isfinite(table[["multi_label_dice", "binary_dice"]]).all(axis=None)
    of_nnunet = table.loc[NNUNET_METHODS]
    assert (of_nnunet["epochs"] == 4).all() and (of_nnunet["iterations"] == 8).all()
    assert table.drop(NNUNET_METHODS)["epochs"].isna().all()
    # Two classes fewer than VerSe's values, 64 weights and a bias each.
    assert table.loc["mobilenet_aspp_nnunet", "parameters"] == 1_278_749 - 2 * 65
    assert table.loc["nnunet", "parameters"] == table.loc["nnunet_flips", "parameters"] > 10_000
    assert table.loc["nnunet_flips", "paper_multi_label_dice"] == 0.428
    assert table.loc["nnunet_flips", "paper_epochs"] == 200
    assert "8 (4 epochs)" in (results / "table1.md").read_text()


def test_the_splits_are_our_folds(results: Path) -> None:
    folds = pd.read_csv(results / "folds.tsv", sep="\t").set_index("scan")["fold"]
    data = results / "nnunet/preprocessed/Dataset001_vertebrae"
    for fold, split in enumerate(json.loads((data / "splits_final.json").read_text())):
        assert set(split["val"]) == set(folds.index[folds == fold])
        assert set(split["train"]) == set(folds.index[folds != fold])
    for method in NNUNET_METHODS:
        recorded = json.loads((results / f"models/{method}/fold0/settings.json").read_text())
        assert set(recorded["training_scans"]) == set(folds.index[folds != 0])


def test_predictions_are_those_of_every_method(results: Path) -> None:
    samples = pd.read_csv(results / "samples.tsv", sep="\t").set_index("scan")
    folds = pd.read_csv(results / "folds.tsv", sep="\t").set_index("scan")["fold"]
    for method in NNUNET_METHODS:
        folder = results / f"predictions/{method}/fold0"
        for scan in folds.index[folds == 0]:
            assert (folder / f"{scan}_grid.safetensors").is_file()
            ct = nib.load(results.parents[1] / samples.loc[scan, "ct"])
            mask = nib.load(folder / f"{scan}_seg-vert_msk.nii.gz")
            assert mask.shape == ct.shape
            np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
            values = set(np.unique(mask.dataobj)) - {0}
            assert values <= set(NAMES)
            _, *points = json.loads((folder / f"{scan}_seg-vert_ctd.json").read_text())
            assert {point["label"] for point in points} == values
            # nnU-Net's own file has the same voxels in RAS+, with T13 as 26.
            own = np.asarray(nib.load(folder / f"nnunet/{scan}.nii.gz").dataobj)
            restored = np.where(own == 26, 28, own)
            np.testing.assert_array_equal(nib.as_closest_canonical(mask).dataobj, restored)


def test_our_native_dice_is_that_of_nnunets_own_summary(results: Path) -> None:
    """Scans, folds, orientation and labels are the same on both ways."""
    compared = 0
    for method in NNUNET_METHODS:
        labels = pd.read_csv(results / f"evaluation/{method}/fold0_labels.csv")
        ours = labels.set_index(["scan", "label"])["dice_native"]
        summary = json.loads(
            (results / f"predictions/{method}/fold0/nnunet/summary.json").read_text()
        )
        for case in summary["metric_per_case"]:
            scan = Path(case["prediction_file"]).name.removesuffix(".nii.gz")
            for value, metrics in case["metrics"].items():
                label = {26: 28}.get(int(value), int(value))
                if np.isfinite(metrics["Dice"]):
                    assert ours[scan, label] == pytest.approx(metrics["Dice"], abs=1e-6)
                    compared += metrics["Dice"] > 0
                else:
                    assert (scan, label) not in ours.index or np.isnan(ours[scan, label])
    assert compared > 0


def test_settings_tell_mirrored_from_unmirrored_predictions(results: Path) -> None:
    for method in NNUNET_METHODS:
        for folder in ("models", "predictions"):
            recorded = json.loads((results / f"{folder}/{method}/fold0/settings.json").read_text())
            mirrored = [0, 1, 2] if method == "nnunet_flips" else []
            assert recorded["mirror_axes_training"] == mirrored
            assert recorded["mirror_axes_test_time"] == mirrored
            assert recorded["engine"] == "nnU-Net 2.8.1"
            assert (recorded["epochs"], recorded["iterations"]) == (4, 8)
        # nnU-Net's own account of the training.
        debug = json.loads((results / f"nnunet/trained/{method}/{TRAINED}/debug.json").read_text())
        assert debug["inference_allowed_mirroring_axes"] == str(tuple(mirrored) or None)
        assert debug["enable_deep_supervision"] == str(method != "mobilenet_aspp_nnunet")


def test_batches_are_mirrored_only_with_flips(workflow: Path, tmp_path: Path) -> None:
    _, env = training(workflow, tmp_path, 0)
    recipes = [dataclasses.asdict(nnunet_recipe(flips=flips)) for flips in (False, True)]
    done = subprocess.run(
        [str(PYTHON), "-c", TRANSFORMS, json.dumps(recipes)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    mirrored = [line.split()[1:] for line in done.stdout.splitlines() if line[:7] == "mirror:"]
    assert mirrored == [["False"], ["True"]]


def test_figure1_shows_all_methods_and_learning_curves_our_own(results: Path) -> None:
    figure = (results / "figure1.svg").read_text()
    assert all(method["label"].split()[0] in figure for method in METHODS.values())
    assert "nnU-Net with flips" in re.sub(r"\s+", " ", figure)
    assert (results / "learning_curves.png").is_file()
    log = pd.read_csv(results / "models/nnunet/fold0/log.csv")
    assert log["epoch"].tolist() == [1, 2, 3, 4]
    assert log["iteration"].tolist() == [2, 4, 6, 8]
    assert np.isfinite(log["loss"]).all() and log["learning_rate"].is_monotonic_decreasing


def test_a_finished_run_has_nothing_left_to_do(workflow: Path) -> None:
    assert "Nothing to be done" in snakemake(workflow, *CONFIG)


def test_a_killed_training_resumes_at_the_saved_epoch(workflow: Path, tmp_path: Path) -> None:
    command, env = training(workflow, tmp_path, 0)
    own = tmp_path / "own" / TRAINED
    process = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 300
    while not (own / "checkpoint_latest.pth").exists() and time.monotonic() < deadline:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (own / "checkpoint_final.pth").exists()
    assert not (tmp_path / "model/weights.safetensors").exists()

    subprocess.run(command, env=env, check=True)
    log = (tmp_path / "log").read_text()
    (resumed,) = re.findall(r"Continuing after epoch (\d)\.", log)
    assert int(resumed) >= 2
    trained = [int(epoch) for epoch in re.findall(r"INFO epoch (\d) of 4", log)]
    assert trained == list(range(int(resumed) + 1, 5))
    weights = (tmp_path / "model/weights.safetensors").read_bytes()
    uninterrupted = workflow / "results/miniature/models/nnunet/fold0"
    assert weights == (uninterrupted / "weights.safetensors").read_bytes()
    assert len(pd.read_csv(tmp_path / "model/log.csv")) == 4

    final = (own / "checkpoint_final.pth").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "model")
    subprocess.run(command, env=env, check=True)
    log = (tmp_path / "log").read_text()
    assert "training is already finished" in log and "INFO epoch" not in log
    assert (own / "checkpoint_final.pth").stat().st_mtime_ns == final
    assert (tmp_path / "model/weights.safetensors").read_bytes() == weights


def test_a_fold_that_is_not_there_is_refused(workflow: Path, tmp_path: Path) -> None:
    command, env = training(workflow, tmp_path, 3)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has 3 folds, but fold 3 is to be trained" in done.stderr
    assert not list(tmp_path.rglob("checkpoint*"))


def test_a_failing_worker_fails_the_step_and_shows_why(workflow: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(workflow / "results/miniature/nnunet/raw", raw)
    shutil.copytree(
        workflow / "results/miniature/nnunet/preprocessed", tmp_path / "preprocessed",
        ignore=shutil.ignore_patterns("*.b2nd", "*.pkl"),
    )  # fmt: skip
    broken = next(raw.rglob("*_0000.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:5000])
    env = environment(
        workflow, tmp_path, nnUNet_raw=raw, nnUNet_preprocessed=tmp_path / "preprocessed"
    )
    script = workflow / "scripts/nnunet_preprocess.py"
    done = subprocess.run(
        [str(PYTHON), str(script), str(tmp_path / "log"), "--processes", "1"],
        env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nnU-Net failed" in done.stderr and f"The end of {tmp_path / 'log'}" in done.stderr
    assert "EOFError" in done.stderr or broken.name in done.stderr


def test_an_external_test_trains_nothing(workflow: Path) -> None:
    folder = workflow / "external"
    write_verse_scan(generate_phantom(77, preset("demo")), folder, "sub-external", "PIR")
    change = workflow / "config/external.yaml"
    change.write_text(yaml.safe_dump({"evaluation": {"external": [str(folder)]}}))
    target = "results/miniature/evaluation/nnunet_flips/external_scans.csv"
    log = snakemake(workflow, *CONFIG, "config/external.yaml", "--", target)
    assert "nnunet_predict_external (method nnunet_flips)" in log
    assert "nnunet_train (" not in log and "nnunet_plan" not in log
    assert pd.read_csv(workflow / target)["scan"].tolist() == ["sub-external"]
    predicted = workflow / "results/miniature/predictions/nnunet_flips/external"
    assert json.loads((predicted / "settings.json").read_text())["networks"] == 1
    assert not (predicted / "nnunet/summary.json").exists()
