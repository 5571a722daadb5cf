"""The workflow, started from other folders, as a module of another one, and by snakedeploy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import WORKFLOW_PARTS, copy_workflow, failing_snakemake, snakemake

pytestmark = pytest.mark.workflow

PHANTOMS = {
    "data": {"source": "phantom", "phantom": {"preset": "demo", "scans": 3}},
    "grid": [16, 16, 32],
    "training": {"batch_size": 2},
    "gpus": 0,
}
CACHED = "cache/16x16x32/sub-phantom0002.safetensors"

MODULE = """
module vertseg:
    snakefile: "{snakefile}"
    {prefix}
    config: {config}

use rule * from vertseg as vertseg_*

rule count:
    default_target: True
    input: "mine/vertseg/folds.tsv"
    output: "mine/count.txt"
    shell: "wc -l < {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("anywhere") / "workflow")


@pytest.fixture(scope="module")
def outside(workflow: Path) -> Path:
    """A folder that the workflow was started from, where another vertseg would be imported."""
    folder = workflow.parent / "outside"
    other = workflow.parent / "installed"
    (other / "vertseg").mkdir(parents=True)
    (other / "vertseg/__init__.py").write_text("raise ImportError('the wrong vertseg')\n")
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump({"results": "mine", **PHANTOMS}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(other))
        snakemake(
            folder, "-s", str(workflow / "Snakefile"), "--configfile", "mine.yaml",
            "--", "mine/samples.tsv", "mine/folds.tsv", f"mine/{CACHED}",
        )  # fmt: skip
    return folder


def module(workflow: Path, folder: Path, config: dict, prefix: str = "") -> Path:
    """A workflow that uses this one as a module."""
    folder.mkdir()
    text = MODULE.format(snakefile=workflow / "Snakefile", config=config, prefix=prefix)
    (folder / "Snakefile").write_text(text)
    return folder


def test_results_lie_in_the_folder_it_is_started_from(outside: Path, workflow: Path) -> None:
    samples = pd.read_csv(outside / "mine/samples.tsv", sep="\t")
    assert samples["ct"].str.startswith("mine/data/rawdata/").all()
    assert all((outside / path).is_file() for path in samples["ct"])
    assert (outside / "mine" / CACHED).is_file()
    assert sorted(path.name for path in workflow.iterdir()) == sorted(WORKFLOW_PARTS)


def test_the_working_folder_may_be_named(outside: Path, workflow: Path, tmp_path: Path) -> None:
    arguments = ["-s", str(workflow / "Snakefile"), "--configfile", str(outside / "mine.yaml")]
    work = tmp_path / "work"
    snakemake(tmp_path, *arguments, "--directory", str(work), "--", f"mine/{CACHED}")
    assert (work / "mine" / CACHED).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_a_replaced_scan_of_the_user_is_prepared_again(outside: Path, workflow: Path) -> None:
    samples = pd.read_csv(outside / "mine/samples.tsv", sep="\t", dtype=str)
    (outside / "own").mkdir()
    for kind in ("ct", "mask", "centroids"):
        samples[kind] = [shutil.copy(outside / path, outside / "own") for path in samples[kind]]
        samples[kind] = [os.path.relpath(path, outside) for path in samples[kind]]
    samples.to_csv(outside / "own.tsv", sep="\t", index=False)
    config = {**PHANTOMS, "results": "own_results", "data": {"source": "sheet", "sheet": "own.tsv"}}
    (outside / "own.yaml").write_text(yaml.safe_dump(config))
    arguments = ["-s", str(workflow / "Snakefile"), "--configfile", "own.yaml", "--"]
    caches = [f"own_results/cache/16x16x32/{scan}.safetensors" for scan in samples["scan"]]
    targets = [*caches, "own_results/folds.tsv"]
    snakemake(outside, *arguments, *targets)
    first, second, _ = samples["ct"]
    original = shutil.copy(outside / first, outside / "original.nii.gz")
    shutil.copy(outside / second, outside / first)
    plan = snakemake(outside, "-n", *arguments, *targets)
    assert "rule audit:" in plan
    assert re.findall(r"wildcards: grid=16x16x32, scan=(.+)", plan) == [samples["scan"][0]]
    # Once drawn the folds stay.
    assert "rule folds:" not in plan
    # A file that was moved there may be older than what was made of the one before.
    os.utime(outside / first, (1, 1))
    plan = snakemake(outside, "-n", *arguments, *targets)
    assert "rule audit:" in plan and "rule preprocess:" in plan
    shutil.copy(original, outside / first)
    os.utime(outside / first, (1, 1))
    assert "Nothing to be done" in snakemake(outside, "-n", *arguments, *targets)


def test_what_an_evaluation_reads_is_its_input(outside: Path, workflow: Path) -> None:
    """Else new points, or the new mask of one vertebra in a folder, would leave old measures."""
    samples = pd.read_csv(outside / "mine/samples.tsv", sep="\t", dtype=str)
    folder = outside / "vertebrae"
    folder.mkdir()
    for name in ("T12", "L1"):
        (folder / f"vertebrae_{name}.nii.gz").touch()
    samples.loc[0, "mask"] = "vertebrae"
    samples.to_csv(outside / "read.tsv", sep="\t", index=False)
    config = {**PHANTOMS, "results": "read", "data": {"source": "sheet", "sheet": "read.tsv"}}
    (outside / "read.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(
        outside, "-s", str(workflow / "Snakefile"), "--configfile", "read.yaml", "-n",
        "--", "read/evaluation/unet/fold0_scans.csv",
    )  # fmt: skip
    inputs = {
        rule: set(files.split(", "))
        for rule, files in re.findall(r"^ *rule (\w+):\n +input: (.+)$", plan, re.MULTILINE)
    }
    masks = {"vertebrae/vertebrae_L1.nii.gz", "vertebrae/vertebrae_T12.nii.gz"}
    masks |= set(samples["mask"][1:])
    assert masks | set(samples["centroids"]) <= inputs["evaluate"] & inputs["audit"]
    assert masks & inputs["preprocess"]


def test_another_workflow_uses_it_as_a_module(workflow: Path) -> None:
    config = {"results": "mine/vertseg", **PHANTOMS}
    folder = module(workflow, workflow.parent / "module", config)
    snakemake(folder)
    assert (folder / "mine/count.txt").read_text().strip() == "4"
    assert {path.name for path in folder.iterdir()} == {".snakemake", "mine", "Snakefile"}
    plan = snakemake(folder, "-n", "vertseg_all")
    assert "rule vertseg_train:" in plan and "rule vertseg_generate_phantoms:" not in plan


def test_a_prefix_for_a_modules_paths_is_refused(workflow: Path, tmp_path: Path) -> None:
    config = {"results": "mine/vertseg", **PHANTOMS}
    folder = module(workflow, tmp_path / "module", config, prefix='prefix: "elsewhere"')
    output = failing_snakemake(folder, "-n")
    assert "set results (and data.folder) in the module's config" in output


def test_snakedeploy_deploys_it(
    workflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snakedeploy = shutil.which(
        "snakedeploy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    if not snakedeploy:
        pytest.skip("snakedeploy is not installed (requirements-dev.txt)")
    # Its path makes snakedeploy take it for a repository on GitHub, which Git then finds there.
    repository = tmp_path / "github/me/vertseg"
    shutil.copytree(workflow, repository, ignore=shutil.ignore_patterns(".snakemake"))
    for name, value in {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{tmp_path}/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    author = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for command in (
        ["init", "-q"], ["add", "."], [*author, "commit", "-qm", "All"], ["tag", "v1"]
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=repository, check=True)
    deployed = tmp_path / "deployed"
    command = [snakedeploy, "deploy-workflow", str(repository), str(deployed), "--tag", "v1"]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(repository / "rules")
    config = yaml.safe_load((deployed / "config/config.yaml").read_text())
    (deployed / "config/config.yaml").write_text(yaml.safe_dump({**config, **PHANTOMS}))
    assert "rule train:" in snakemake(deployed, "-n")
    snakemake(deployed, "results/samples.tsv")
    assert len(pd.read_csv(deployed / "results/samples.tsv", sep="\t")) == 3
