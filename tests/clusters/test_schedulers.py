"""Grid Engine and LSF profiles, with commands that stand for theirs (schedulers/commands.py).

What real schedulers make of the options is not tested.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, copy_workflow, snakemake

pytestmark = pytest.mark.scheduler

COMMANDS = ["qsub", "qstat", "qacct", "bsub", "bjobs", "badmin", "lsclusters", "bhist"]
GROUP = "preprocess"
WEIGHTS = "results/miniature/models/{method}/fold0/weights.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workflow, with the schedulers' commands on the path."""
    folder = copy_workflow(tmp_path_factory.mktemp("schedulers") / "workflow")
    commands = folder.parent / "bin"
    commands.mkdir()
    for name in COMMANDS:
        (commands / name).symlink_to(ROOT / "tests/clusters/schedulers/commands.py")
    # A GPU, too, for its assignment; the networks run on the CPU.
    driver = commands / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho '0, GPU-made-up'\n")
    driver.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
        yield folder


def run(folder: Path, scheduler: str, method: str, kills: str) -> dict[str, list[str]]:
    """Train a method through a scheduler; the options of its jobs, by name and attempt."""
    state = folder.parent / scheduler
    # LSF's plugin looks for the default queue there.
    parameters = state / "lsbatch/test/configdir/lsb.params"
    parameters.parent.mkdir(parents=True)
    parameters.write_text("DEFAULT_QUEUE = normal\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUEUE_FOLDER", str(state))
        patch.setenv("QUEUE_KILLS", kills)
        arguments = ["--profile", f"profiles/{scheduler}", "--configfile", "config/miniature.yaml"]
        arguments += ["--seconds-between-status-checks", "2", "--cores", "2"]
        arguments += ["--config", "gpus=1", "--"]
        snakemake(folder, *arguments, WEIGHTS.format(method=method))
    submitted = {}
    for path in sorted(state.glob("*.json"), key=lambda path: int(path.stem)):
        job = json.loads(path.read_text())
        attempt = sum(name.startswith(job["name"]) for name in submitted) + 1
        submitted[f"{job['name']} {attempt}"] = job["arguments"]
    return submitted


@pytest.fixture(scope="module")
def sge_jobs(folder: Path) -> dict[str, str]:
    profile = folder / "profiles/sge/submit.sh"
    text = profile.read_text()
    for name, value in {"project": "spine", "queue": "short.q", "gpu_queue": "gpu.q"}.items():
        text, count = re.subn(rf'^{name}=""$', f'{name}="{value}"', text, flags=re.M)
        assert count == 1
    profile.write_text(text)
    jobs = run(folder, "sge", "mobilenet", kills="train")
    assert (folder / WEIGHTS.format(method="mobilenet")).exists()
    return {name: " ".join(arguments) for name, arguments in jobs.items()}


def test_sge_jobs_ask_for_what_the_rules_need(sge_jobs: dict[str, str]) -> None:
    once = {"generate_phantoms", "audit", "folds", GROUP, "train"}
    assert set(sge_jobs) == {f"{name} 1" for name in once} | {"train 2"}
    assert "-l h_rt=3600 -l h_vmem=8000M -pe smp 2 -P spine -q short.q" in sge_jobs[f"{GROUP} 1"]
    assert "-l h_rt=14400 -l h_vmem=8000M -pe smp 2" in sge_jobs["train 1"]
    assert "-P spine -l gpu=1 -q gpu.q" in sge_jobs["train 1"]
    assert "gpu" not in sge_jobs["audit 1"]


def test_an_sge_job_that_was_killed_is_tried_again_with_more(sge_jobs: dict[str, str]) -> None:
    assert "-l h_rt=28800 -l h_vmem=16000M" in sge_jobs["train 2"]


def test_a_training_holds_a_gpu(folder: Path, sge_jobs: dict[str, str]) -> None:
    log = (folder / "results/miniature/logs/train/mobilenet_fold0.log").read_text()
    assert "On GPU-made-up." in log


def test_lsf_jobs_ask_for_what_the_rules_need(folder: Path, sge_jobs: dict[str, str]) -> None:
    jobs = run(folder, "lsf", "unet", kills="train")
    assert list(jobs) == ["train 1", "train 2"]
    first, second = (" ".join(arguments[:-1]) for arguments in jobs.values())
    assert "-P spine -q normal -W 240 -n 2 -R rusage[mem=8000.0] -R span[hosts=1]" in first
    assert "-gpu num=1" in first
    assert "-W 480 -n 2 -R rusage[mem=16000.0]" in second
    assert (folder / WEIGHTS.format(method="unet")).exists()
