"""Assignment of GPUs to jobs, without any GPU: a made-up nvidia-smi lists three."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.core.gpus import claimed_gpus, visible_gpus

A, B, C = GPUS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]
JOB = """
import os, sys, time
from vertseg.core.gpus import claimed_gpus
with claimed_gpus(int(sys.argv[1])) as gpus:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)
    start = time.monotonic()
    print(*gpus, flush=True)
    time.sleep(float(sys.argv[2]))
    print(start, time.monotonic(), flush=True)
"""
StartJob = Callable[..., subprocess.Popen]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with three GPUs."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    lines = "".join(f"{index}, {gpu}\\n" for index, gpu in enumerate(GPUS))
    tool.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tool


@pytest.fixture
def start_job() -> Iterator[StartJob]:
    jobs = []

    def start(number: int = 1, seconds: float = 600) -> subprocess.Popen:
        command = [sys.executable, "-c", JOB, str(number), str(seconds)]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


@pytest.mark.parametrize("number", [1, 2])
def test_jobs_side_by_side_never_share_a_gpu(start_job: StartJob, number: int) -> None:
    jobs = [start_job(number, 0.5) for _ in range(7)]
    spans = []
    for job in jobs:
        gpus, times = job.communicate(timeout=60)[0].splitlines()
        assert len(set(gpus.split())) == number
        spans.append((set(gpus.split()), tuple(map(float, times.split()))))
    for index, (gpus, span) in enumerate(spans):
        together = [other for other, times in spans[index + 1 :] if overlap(span, times)]
        assert all(gpus.isdisjoint(other) for other in together)


def test_a_killed_job_frees_its_gpu_for_one_that_waits(start_job: StartJob) -> None:
    jobs = [start_job() for _ in GPUS]
    held = [job.stdout.readline().strip() for job in jobs]
    assert sorted(held) == GPUS
    waiting = start_job(seconds=0)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=3)
    jobs[1].send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=60)[0].startswith(held[1])


def test_a_job_with_an_error_gives_its_gpu_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with pytest.raises(ZeroDivisionError), claimed_gpus(1):
        raise ZeroDivisionError
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    with claimed_gpus(1) as gpus:
        assert gpus == [C]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == C


def test_the_environment_is_as_before() -> None:
    with claimed_gpus(3) as gpus:
        assert sorted(gpus) == GPUS
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("asked", "visible"),
    [
        (None, GPUS),
        ("2,0", [C, A]),
        ("GPU-bb", [B]),
        ("1,7,0", [B]),
        ("MIG-5,0", ["MIG-5", A]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, visible: list[str]
) -> None:
    if asked is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", asked)
    assert visible_gpus() == visible


@pytest.mark.parametrize(("number", "device"), [(0, "auto"), (1, "cpu"), (1, "cuda:1")])
def test_nothing_is_held_where_nothing_is_to_choose(number: int, device: str) -> None:
    with claimed_gpus(number, device) as gpus:
        assert gpus == []
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_machine_without_a_driver_has_no_gpus(machine: Path) -> None:
    machine.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed.'\nexit 9\n")
    with claimed_gpus(1) as gpus:
        assert gpus == []


def test_more_gpus_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="asks for 4 GPUs and sees 3"), claimed_gpus(4):
        pass
