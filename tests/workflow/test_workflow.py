"""The workflow itself, run as a user runs it, on a miniature phantom data set."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml
from conftest import ROOT, copy_workflow, failing_snakemake, snakemake
from safetensors.numpy import load_file

from vertseg import __version__
from vertseg.networks.weights import load_network
from vertseg.segmentation.cache import read_cache

pytestmark = pytest.mark.workflow

PARAMETERS = {
    "ResNet18/ASPP": 3_204_845,
    "U-Net": 5_297_981,
    "MobileNet": 277_533,
    "MobileNet/ASPP with flips": 1_278_749,
    "MobileNet/ASPP": 1_278_749,
}


METHODS = {
    key: method
    for key, method in yaml.safe_load((ROOT / "config.yaml").read_text())["methods"].items()
    if method.get("engine") != "nnunet" and key != "spine_crops"
}

PER_METHOD = {"train", "predict", "evaluate"}
REPORT = {"table1", "per_label_page", "figure1", "learning_curves", "run_cost", "run_cost_page"}


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished miniature run: the folder it ran in."""
    folder = copy_workflow(tmp_path_factory.mktemp("workflow"))
    crate = "results/miniature/ro-crate-metadata.json"
    output = snakemake(folder, "all", crate, "--configfile", "config/miniature.yaml")
    (folder / "shown.txt").write_text(output)
    return folder


@pytest.fixture
def copied(workflow: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return shutil.copytree(workflow, tmp_path / "workflow")


@pytest.fixture(scope="module")
def results(workflow: Path) -> Path:
    return workflow / "results/miniature"


@pytest.fixture(scope="module")
def table(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "table1.csv").set_index("method")


def test_table1_has_the_papers_rows_and_values(table: pd.DataFrame) -> None:
    assert list(table.index) == [method["label"] for method in METHODS.values()]
    for method in METHODS.values():
        row = table.loc[method["label"]]
        for name, value in method["paper"].items():
            assert row[f"paper_{name}"] == value
        assert row["parameters"] == PARAMETERS[method["label"]]
        assert row["iterations"] == 12
        assert row["n_scans"] == 3


def test_the_runs_crate_describes_every_result(results: Path) -> None:
    """Hashes are those of the files, by the specification's own terms."""
    graph = json.loads((results / "ro-crate-metadata.json").read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    run = entities["#run"]
    written = {one["@id"] for one in run["result"]}
    for path in written:
        assert entities[path]["sha256"] == hashlib.sha256((results / path).read_bytes()).hexdigest()
    for pattern in ("table1.*", "models/*/fold0/weights.safetensors", "predictions/*/fold0/sub-*"):
        assert {path.relative_to(results).as_posix() for path in results.glob(pattern)} <= written
    assert run["object"] == {"@id": "configuration.yaml"}  # Phantoms are no input.
    configuration = yaml.safe_load((results / "configuration.yaml").read_text())
    assert configuration["training"]["iterations"] == 12
    assert configuration["training"]["schedule"] == "constant"
    workflow = entities[run["instrument"]["@id"]]
    assert workflow["@id"] == entities["./"]["mainEntity"]["@id"] == "workflow/Snakefile"
    assert workflow["version"] == __version__
    copied = results / "workflow"
    assert (copied / "vertseg/__init__.py").read_text() == (
        ROOT / "vertseg/__init__.py"
    ).read_text()


def test_the_audit_finds_the_phantoms_in_order(results: Path) -> None:
    table = pd.read_csv(results / "audit.tsv", sep="\t")
    samples = pd.read_csv(results / "samples.tsv", sep="\t")
    assert table["scan"].tolist() == samples["scan"].tolist()
    assert table["labels"].notna().all()
    assert table[["warnings", "problem"]].isna().all(axis=None)
    assert (results / "dataset.png").stat().st_size > 20_000


def test_the_tables_dice_is_that_of_the_files(results: Path, table: pd.DataFrame) -> None:
    keys = table.reset_index().set_index("key")["method"]
    for key, label in keys.items():
        multi, binary = [], []
        for path in sorted((results / f"predictions/{key}/fold0").glob("*_grid.safetensors")):
            predicted = load_file(path)["label"]
            cache = path.name.replace("_grid", "")
            reference = load_file(results / "cache/16x16x32" / cache)["label"]
            overlap = sitk.LabelOverlapMeasuresImageFilter()
            per_label = []
            for value in sorted({*np.unique(predicted), *np.unique(reference)} - {0}):
                masks = [sitk.GetImageFromArray((a == value) * 1) for a in (predicted, reference)]
                overlap.Execute(*masks)
                per_label.append(overlap.GetDiceCoefficient(1))
            multi.append(np.mean(per_label))
            overlap.Execute(*(sitk.GetImageFromArray((a > 0) * 1) for a in (predicted, reference)))
            binary.append(overlap.GetDiceCoefficient(1))
        assert len(multi) == 3
        assert table.loc[label, "multi_label_dice"] == pytest.approx(np.mean(multi), abs=1e-6)
        assert table.loc[label, "binary_dice"] == pytest.approx(np.mean(binary), abs=1e-6)
    assert table["binary_dice"].max() > 0.05


def test_predictions_have_the_geometry_of_their_ct(results: Path) -> None:
    samples = pd.read_csv(results / "samples.tsv", sep="\t").set_index("scan")
    folds = pd.read_csv(results / "folds.tsv", sep="\t").set_index("scan")["fold"]
    assert sorted(folds.value_counts()) == [3, 3, 3]
    for scan in folds.index[folds == 0]:
        ct = nib.load(results.parents[1] / samples.loc[scan, "ct"])
        stem = results / f"predictions/mobilenet_aspp/fold0/{scan}_seg-vert"
        mask = nib.load(f"{stem}_msk.nii.gz")
        assert mask.shape == ct.shape
        np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
        labels = set(np.unique(mask.dataobj)) - {0}
        direction, *points = json.loads(Path(f"{stem}_ctd.json").read_text())
        assert direction["direction"] == list(nib.aff2axcodes(ct.affine))
        assert {point["label"] for point in points} == labels


def test_training_logs_and_figures(results: Path) -> None:
    for log in results.glob("models/*/fold0/log.csv"):
        history = pd.read_csv(log)
        assert history["iteration"].tolist() == list(range(1, 13))
        assert np.isfinite(history["loss"]).all()
        assert history["validation_loss"].notna().sum() == 2
        assert list(log.parent.glob("tensorboard/events.*"))
    for name in ("figure1", "learning_curves"):
        assert (results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    figure = (results / "figure1.svg").read_text()
    assert all(label in figure for label in PARAMETERS)


def test_a_run_shows_a_line_a_job_and_where_the_results_are(workflow: Path) -> None:
    shown = (workflow / "shown.txt").read_text()
    jobs = re.findall(
        r"^\d\d:\d\d:\d\d (?:\[\d+ of \d+\] )?(\w+)(?: \((.+)\))?$", shown, re.MULTILINE
    )
    assert {of for rule, of in jobs if rule == "train"} == {f"method {m}, fold 0" for m in METHODS}
    assert ("table1", "") in jobs and ("all", "") in jobs
    total = int(re.search(r"^total +(\d+)$", shown, re.MULTILINE)[1])
    assert f"\n{total} of {total} steps (100%) done\nResults: results/miniature/\n" in shown
    assert len(shown.splitlines()) < 140
    assert "_ct.nii.gz" not in shown and "INFO" not in shown
    [complete] = (workflow / ".snakemake/log").glob("*.log")
    assert complete.read_text().count("rule preprocess_phantoms:") == 1


def test_a_failing_step_shows_its_log(copied: Path) -> None:
    (copied / "results/miniature/benchmarks/broken.tsv").write_text("no table")
    output = failing_snakemake(
        copied, "--configfile", "config/miniature.yaml", "--forcerun", "run_cost"
    )
    assert "Error in rule run_cost" in output and "not a benchmark table" in output
    assert "Logs of the steps: results/miniature/logs/" in output


def planned(workflow: Path, change: str = "") -> dict[str, set[str]]:
    """Rules that would run again, with the methods they would run for."""
    (workflow / "config/change.yaml").write_text(change or "{}")
    arguments = ["--configfile", "config/miniature.yaml", "config/change.yaml"]
    jobs = snakemake(workflow, *arguments, "--dry-run")
    plan: dict[str, set[str]] = {}
    for job in re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)+)", jobs, re.MULTILINE):
        plan.setdefault(job[0], set()).update(re.findall(r"wildcards: method=(\w+)", job[1]))
    return plan


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """A source file with a change, for a while."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("change", "methods"),
    [
        (
            "methods: {unet: {training: {learning_rate: 0.02}}}\n"
            "networks: {resnet18_aspp: {aspp_rates: [1, 1, 1, 1]}}\n",
            {"unet", "resnet18_aspp"},
        ),
        ("training: {learning_rate: 0.02}", set(METHODS)),
        ("training: {flips: true}", set(METHODS) - {"mobilenet_aspp_flips"}),
    ],
)
def test_a_changed_recipe_retrains_the_methods_it_touches(
    workflow: Path, change: str, methods: set[str]
) -> None:
    plan = planned(workflow, change)
    assert plan["train"] == plan["predict"] == plan["evaluate"] == methods
    assert set(plan) == {*PER_METHOD, *REPORT, "all"}


def test_initial_weights_are_an_input_of_training(copied: Path) -> None:
    weights = copied / "results/miniature/models/mobilenet/fold0/weights.safetensors"
    first = copied / "first.safetensors"
    shutil.copy(weights, first)
    change = "methods: {mobilenet: {training: {initial_weights: first.safetensors}}}"
    own = copied / "config/own.yaml"
    own.write_text(change)
    arguments = [str(weights.relative_to(copied)), "--configfile", "config/miniature.yaml"]
    snakemake(copied, *arguments, str(own))
    _, trained = load_network(weights)
    assert trained["initial_weights"]["file"] == "first.safetensors"
    assert "train" not in planned(copied, change)
    shutil.copy(weights, first)
    os.utime(first, (1, 1))
    assert planned(copied, change)["train"] == {"mobilenet"}
    first.unlink()
    assert "first.safetensors" in failing_snakemake(copied, "-n", *arguments, str(own))


def test_a_network_is_exported_and_shipped(workflow: Path) -> None:
    arguments = ["--configfile", "config/miniature.yaml"]
    smallest = ["--config", "reference_method=mobilenet"]
    assert "SHA-256" in snakemake(workflow, "ship_model", *arguments, *smallest)
    trained = workflow / "results/miniature/models/mobilenet/fold0"
    for suffix in (".safetensors", ".onnx"):
        shipped = workflow / f"vertseg/models/vertseg-phantom{suffix}"
        assert shipped.read_bytes() == (trained / f"weights{suffix}").read_bytes()


def test_a_changed_label_retrains_nothing(workflow: Path) -> None:
    plan = planned(workflow, "methods: {unet: {label: A U-Net}}")
    assert not {*PER_METHOD, "preprocess_phantoms"} & set(plan)
    assert {"table1", "figure1", "learning_curves"} <= set(plan)


def test_changed_code_reruns_what_it_decides(workflow: Path) -> None:
    package = workflow / "vertseg"
    with edited(package / "figures/style.py", "PNG_DPI = 300", "PNG_DPI = 200"):
        assert set(planned(workflow)) == {"dataset_figure", "learning_curves", "figure1", "all"}
    with edited(package / "evaluation/metrics.py", "<= TOLERANCE_MM", "< TOLERANCE_MM"):
        plan = planned(workflow)
        assert plan["evaluate"] == set(METHODS)
        assert not {"preprocess_phantoms", "train", "predict"} & set(plan)
    with edited(package / "training/losses.py", "0.95", "0.9"):
        plan = planned(workflow)
        assert plan["train"] == set(METHODS)
        assert not {"generate_phantoms", "audit", "preprocess_phantoms"} & set(plan)


def test_changed_comments_rerun_nothing(workflow: Path) -> None:
    path = workflow / "vertseg/training/losses.py"
    with edited(path, '"""', '"""Reworded: '), edited(path, "\nimport", "\n\n# Why.\nimport"):
        output = snakemake(workflow, "--configfile", "config/miniature.yaml")
    assert "Nothing to be done" in output


def test_all_long_steps_are_in_one_table(results: Path) -> None:
    table = pd.read_csv(results / "run_cost.tsv", sep="\t")
    jobs = {(rule, job) for rule, job in table[["rule", "job"]].fillna("").to_numpy()}
    assert {("generate_phantoms", ""), ("audit", "")} < jobs
    assert {job for rule, job in jobs if rule == "train"} == {f"{key}_fold0" for key in METHODS}
    assert (table["seconds"] > 0).all()
    assert (table.loc[table["rule"] == "train", "peak_memory_mb"] > 100).all()


def test_the_report_needs_nothing_else(workflow: Path) -> None:
    snakemake(workflow, "--configfile", "config/miniature.yaml", "--report", "report.html")
    page = (workflow / "report.html").read_text()
    assert not re.findall(r"<(?:script|img|iframe)[^>]* src=.?https?:|<link[^>]*https?:", page)
    categories = json.loads(re.search(r"var categories = (\{.*?\});?\n", page)[1])
    shown = {
        name: {Path(path).name for files in parts.values() for path in files}
        for name, parts in categories.items()
    }
    assert shown == {
        "Results": {"table1.html", "per_label.html", "figure1.png"},
        "Training": {"learning_curves.png"},
        "Data": {"audit.html", "dataset.png"},
        "Run": {"run_cost.html"},
    }
    captions = [path.read_text().split(None, 3)[:3] for path in (ROOT / "captions").glob("*.rst")]
    found = sum(" ".join(words) in page for words in captions)
    assert found == len(captions) - len(["external"])


def test_mistakes_in_the_configuration_stop_the_run(workflow: Path) -> None:
    change = ["--config", 'methods={"unet": {"network": "unett"}}']
    output = failing_snakemake(workflow, "-n", "--configfile", "config/miniature.yaml", *change)
    assert "methods.unet.network: 'unett' is not known; did you mean 'unet'?" in output
    assert "Traceback" not in output


def test_too_few_scans_stop_a_run_with_trainings_before_it_starts(tmp_path: Path) -> None:
    arguments = ["-n", "--configfile", "config/miniature.yaml", "--config"]
    arguments.append('data={"phantom": {"scans": 5}}')
    folder = copy_workflow(tmp_path)
    output = failing_snakemake(folder, *arguments)
    assert "resnet18_aspp holds 4 different scans, but of 5 scans in 3 folds, 3 are left" in output
    assert "rule audit:" in snakemake(folder, *arguments, "--", "results/miniature/audit.tsv")


@pytest.mark.parametrize(
    ("change", "threads"),
    [
        ((), 2),
        (("--config", "methods_to_run=[unet]", "skip_methods=[]"), 4),
        (("--config", "gpus=1"), 4),
    ],
)
def test_two_trainings_share_the_cores_of_a_machine_without_a_gpu(
    tmp_path: Path, change: tuple[str, ...], threads: int
) -> None:
    arguments = ("--dry-run", "--cores", "4", "--configfile", "config/miniature.yaml", *change)
    plan = snakemake(copy_workflow(tmp_path / "workflow"), *arguments)
    jobs = re.findall(r"^rule (?:train|predict|evaluate):\n((?: +.*\n)+)", plan, re.MULTILINE)
    assert jobs
    assert {int(re.search(r"threads: (\d+)", job)[1]) for job in jobs} == {threads}


def test_the_picture_of_the_rules_is_up_to_date(tmp_path: Path) -> None:
    graph = snakemake(copy_workflow(tmp_path), "--rulegraph", "dot")
    rules = set(re.findall(r'label = "(\w+)"', graph))
    picture = (ROOT / "docs/images/rulegraph.svg").read_text()
    assert set(re.findall(r">(\w+)</text>", picture)) == rules, "run `make rulegraph`"


def test_a_method_may_have_a_grid_of_its_own(workflow: Path) -> None:
    results = workflow / "results/miniature"
    (workflow / "config/own.yaml").write_text(
        "skip_methods: [nnunet_flips, nnunet, mobilenet_aspp_nnunet]\n"
        "methods: {spine_crops: {network_options: {aspp_rates: [1, 1, 1, 1]},"
        " grid: {spacing_mm: 8}, training: {crop: [16, 16, 24]}}}\n"
    )
    table = "results/miniature/evaluation/spine_crops/fold0_scans.csv"
    configfiles = ["config/miniature.yaml", "config/own.yaml"]
    snakemake(workflow, "--configfile", *configfiles, "--", table)
    scans = pd.read_csv(workflow / table)
    assert len(scans) == 3 and scans["multi_label_dice"].between(0, 1).all()
    for scan in scans["scan"]:
        own, shared = (read_cache(results / f"cache/{grid}/{scan}.safetensors")
                       for grid in ("8mm", "16x16x32"))  # fmt: skip
        np.testing.assert_allclose(own.transform.cell_mm, 8, atol=1)
        assert own.transform.native.shape == shared.transform.native.shape
        stem = results / f"predictions/spine_crops/fold0/{scan}"
        assert nib.load(f"{stem}_seg-vert_msk.nii.gz").shape == own.transform.native.shape
        assert not Path(f"{stem}_grid.safetensors").exists()
    assert planned(workflow) == {}
