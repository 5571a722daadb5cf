"""The miniature workflow on a SLURM of one node, with what goes wrong on a cluster.

Not part of the other tests: it needs root and Debian, installs and starts SLURM, takes minutes, and
is run by `make test-slurm`. Fixture `story` is the run; the tests ask what SLURM saw of it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import copy_workflow

CLUSTER = Path(__file__).with_name("cluster.sh")
CANNOT_RUN_HERE = 77
PATIENCE_S = 1200
SITE = {
    "gpu_partition": "gpu",
    "gpu_type": "fake",
    "status_command": "squeue",
    "cpus_per_job": "2",
    "scratch": "/var/tmp",
}
RUN = [
    *("--profile", "profiles/slurm", "--configfile", "config/miniature.yaml"),
    *("--config", "gpus=1"),
    *("--slurm-init-seconds-before-status-checks", "10"),
]
METHODS = ("resnet18_aspp", "unet", "mobilenet", "mobilenet_aspp_flips", "mobilenet_aspp")


@dataclass(frozen=True)
class Job:
    """A job as SLURM shows it.

    Attributes:
        number: SLURM's number, which rises.
        comment: the rule and its wildcards, from the executor.
        name: the run of Snakemake that submitted it.
        time_limit_min: minutes.
        memory_mb: MB.
    """

    number: int
    comment: str
    name: str
    state: str
    partition: str
    time_limit_min: float
    memory_mb: int
    cpus: int
    gpus: str


def queue() -> list[Job]:
    """All jobs, finished ones too, in order of submission."""
    command = ["scontrol", "show", "job", "--oneliner"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(map(parse_job, filter(None, parse_lines(shown))), key=lambda job: job.number)


def parse_lines(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith("JobId=")]


def parse_job(line: str) -> Job:
    values = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
    days, _, clock = values["TimeLimit"].rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    memory, unit = re.fullmatch(r"([\d.]+)([MG])", values["MinMemoryNode"]).groups()
    return Job(
        number=int(values["JobId"]),
        comment=values.get("Comment", ""),
        name=values["JobName"],
        state=values["JobState"],
        partition=values["Partition"],
        time_limit_min=int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60,
        memory_mb=round(float(memory) * {"M": 1, "G": 1024}[unit]),
        cpus=int(values["NumCPUs"]),
        gpus=values.get("TresPerJob", ""),
    )


def active() -> list[Job]:
    return [job for job in queue() if job.state in ("PENDING", "RUNNING", "COMPLETING")]


def trained_method(job: Job) -> str | None:
    """The method that a job trains."""
    found = re.fullmatch(r"rule_train_wildcards_(\w+)_0", job.comment)
    return found[1] if found else None


def wait_until(what: str, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait for a condition; its first true value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{queue()}"
        time.sleep(0.2)
    return value


def script_process(job: Job) -> int | None:
    """The process that runs a job's script, once it is there."""
    marker = f"SLURM_JOB_ID={job.number}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if re.search(rb"/scripts/.*\.py$", command[-2]) and b"python" in command[0]:
                    return int(folder.name)
        except (OSError, IndexError):
            continue
    return None


def read_environment(process: int) -> dict[str, str]:
    """A process's environment variables."""
    pairs = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def running_trainings() -> Iterator[tuple[Job, int]]:
    """Jobs whose training is at work, with its process."""
    for job in queue():
        if trained_method(job) and job.state == "RUNNING" and (process := script_process(job)):
            yield job, process


class Snakemake:
    """A Snakemake that runs beside the test."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder, self.log = folder, folder / log
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *RUN],
                cwd=folder,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Story:
    """Observations of the run.

    Attributes:
        interrupted: the method that was in training when Snakemake was killed.
        orphans: jobs that SLURM went on with when Snakemake had been killed.
        last_of_killed: the number of the last job that the killed Snakemake submitted.
        output: what the second Snakemake said.
        troubled: the methods whose trainings were cancelled and ran out of time.
        environment: of a training's process.
        jobs: all jobs, at the end.
    """

    folder: Path
    interrupted: str
    orphans: list[Job]
    last_of_killed: int
    status: int | None
    output: str
    troubled: list[str]
    environment: dict[str, str]
    jobs: list[Job]

    def attempts(self, method: str) -> list[Job]:
        """The second Snakemake's trainings of a method."""
        later = [job for job in self.jobs if job.number > self.last_of_killed]
        return [job for job in later if trained_method(job) == method]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run([CLUSTER, "up", folder], capture_output=True, text=True, check=False)
    if done.returncode == CANNOT_RUN_HERE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        subprocess.run([CLUSTER, "down", folder], check=True)


def edit_site(profile: Path) -> None:
    """Fill in the block of the profile that users edit."""
    text = profile.read_text()
    for name, value in SITE.items():
        text, count = re.subn(rf"^  {name}: .*$", f"  {name}: {value}", text, flags=re.M)
        assert count == 1, name
    profile.write_text(text)


@pytest.fixture(scope="module")
def story(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = copy_workflow(tmp_path_factory.mktemp("workflow"))
    edit_site(folder / "profiles/slurm/config.yaml")
    runs = [Snakemake(folder, "killed.log")]
    try:
        yield _live_through(folder, runs)
    finally:
        for run in runs:
            run.kill()


def _live_through(folder: Path, runs: list[Snakemake]) -> Story:
    [killed] = runs
    at_work = wait_until(
        "a training is at work",
        lambda: not killed.alive() or [job for job, _ in running_trainings()],
    )
    assert killed.alive(), killed.output()
    interrupted = trained_method(at_work[0])
    killed.kill()
    orphans = active()
    last = queue()[-1].number

    # As docs/cluster.md says.
    run_id = re.search(r"SLURM run ID: (\S+)", killed.output())[1]
    subprocess.run(["scancel", f"--name={run_id}"], check=True)
    wait_until("cancelled jobs are gone", lambda: not active())
    unlock = [sys.executable, "-m", "snakemake", *RUN, "--unlock"]
    subprocess.run(unlock, cwd=folder, check=True, capture_output=True)

    runs.append(resumed := Snakemake(folder, "resumed.log"))
    troubled, environment = [], {}
    end = time.monotonic() + 3 * PATIENCE_S
    while resumed.alive() and time.monotonic() < end:
        for job, process in running_trainings():
            method = trained_method(job)
            if len(troubled) < 2 and method not in troubled:
                environment = read_environment(process)
                (_hang if troubled else _cancel)(job, process)
                troubled.append(method)
        time.sleep(0.5)
    return Story(
        folder=folder,
        interrupted=interrupted,
        orphans=orphans,
        last_of_killed=last,
        status=resumed.process.poll(),
        output=resumed.output(),
        troubled=troubled,
        environment=environment,
        jobs=queue(),
    )


def _cancel(job: Job, process: int) -> None:
    subprocess.run(["scancel", str(job.number)], check=True)


def _hang(job: Job, process: int) -> None:
    """Stop the training and leave it a minute, after which SLURM ends it."""
    os.kill(process, signal.SIGSTOP)
    command = ["scontrol", "update", f"JobId={job.number}", "TimeLimit=1"]
    subprocess.run(command, check=True)


def test_the_run_ends_in_table1(story: Story) -> None:
    assert story.status == 0, story.output
    table = pd.read_csv(story.folder / "results/miniature/table1.csv")
    assert len(table) == 5
    assert table["multi_label_dice"].between(0, 1).all()


def test_every_step_went_through_the_queue(story: Story) -> None:
    comments = [job.comment for job in story.jobs]
    for rule in ("generate_phantoms", "sample_sheet", "audit", "folds", "table1", "figure1"):
        assert comments.count(f"rule_{rule}") == 1, rule
    for rule in ("predict", "evaluate"):
        assert sum(comment.startswith(f"rule_{rule}_wildcards_") for comment in comments) == 5


def test_all_scans_are_preprocessed_in_one_job(story: Story) -> None:
    [job] = [job for job in story.jobs if "preprocess" in job.comment]
    assert (job.cpus, job.memory_mb, job.time_limit_min) == (2, 16000, 60)
    assert len(list((story.folder / "results/miniature/cache/16x16x32").glob("*.safetensors"))) == 9


def test_gpus_are_asked_for_where_networks_run(story: Story) -> None:
    for job in story.jobs:
        on_gpu = re.match(r"rule_(train|predict)_", job.comment)
        assert job.gpus == ("gres:gpu:fake:1" if on_gpu else ""), job
        assert job.partition == ("gpu" if on_gpu else "cpu"), job


def test_a_training_sees_the_gpu_it_was_given_and_the_sites_scratch(story: Story) -> None:
    assert story.environment["CUDA_VISIBLE_DEVICES"] in ("0", "1")
    assert story.environment["TMPDIR"] == SITE["scratch"]


def test_a_cancelled_job_is_tried_again_with_more_memory(story: Story) -> None:
    first, second = story.attempts(story.troubled[0])
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert (first.memory_mb, second.memory_mb) == (16000, 32000)
    assert second.time_limit_min == 2 * first.time_limit_min == 480


def test_a_job_out_of_time_is_tried_again_with_more(story: Story) -> None:
    first, second = story.attempts(story.troubled[1])
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert first.time_limit_min == 1
    assert (second.time_limit_min, second.memory_mb) == (480, 32000)


def test_other_trainings_run_once(story: Story) -> None:
    for method in set(METHODS) - set(story.troubled):
        [job] = story.attempts(method)
        assert (job.state, job.memory_mb, job.time_limit_min) == ("COMPLETED", 16000, 240)


def test_a_killed_snakemake_goes_on_where_it_was(story: Story) -> None:
    assert story.interrupted in map(trained_method, story.orphans)
    later = {job.comment for job in story.jobs if job.number > story.last_of_killed}
    assert f"rule_train_wildcards_{story.interrupted}_0" in later
    for done in ("generate_phantoms", "sample_sheet", "audit", "folds", "preprocess"):
        assert not any(done in comment for comment in later)
