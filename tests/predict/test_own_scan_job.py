"""A job of the workflow that predicts one scan: killed, or beside other calls."""

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from filelock import FileLock

from vertseg import cli
from vertseg.predict import pipeline
from vertseg.predict.batch import LOCK_NAME, locked_output

HOLD = """
import sys, time
from pathlib import Path
from vertseg.predict.batch import locked_output
with locked_output(Path(sys.argv[1]), alone=sys.argv[2] == "alone"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: None)


def job(output: Path, attempt: int = 1) -> None:
    """Run the script as Snakemake does, for the scan `one`."""
    (output / "outcomes").mkdir(exist_ok=True)
    snakemake = SimpleNamespace(
        input=SimpleNamespace(scan=str(output / "one.nii")),
        output=[str(output / "outcomes/one.txt")],
        log=[str(output / "one.log")],
        wildcards=SimpleNamespace(scan="one"),
        params=SimpleNamespace(
            results=str(output), model=None, dicom=[], decoding="order", outlines=None, retries=2
        ),
        resources=SimpleNamespace(attempt=attempt),
        threads=1,
    )
    runpy.run_path(str(ROOT / "scripts/predict_own_scan.py"), {"snakemake": snakemake}, "__main__")


def killed(path: str, name: str, model: object, options: pipeline.Options) -> Path:
    """A prediction that the kernel ends while temporary files exist."""
    (options.output / f".{name}.vertseg-partial").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_scan_whose_jobs_are_killed_is_a_failure_after_the_last_attempt(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(pipeline, "predict_scan", killed)
    for attempt in (1, 2):
        with pytest.raises(SystemExit):
            job(tmp_path, attempt)
        assert not (tmp_path / "outcomes/one.txt").exists()
        assert "too little memory" in (tmp_path / "one.log").read_text()
    job(tmp_path, 3)
    assert (tmp_path / "outcomes/one.txt").read_text() == "one_failed.json\n"
    assert "too little memory" in json.loads((tmp_path / "one_failed.json").read_text())["error"]
    assert not list(tmp_path.glob(".*-partial"))


@contextmanager
def held(output: Path, how: str) -> Iterator[None]:
    """Another process has a folder's lock until the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output), how], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_jobs_share_a_folder_that_a_call_has_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    def done(path: str, name: str, model: object, options: pipeline.Options) -> Path:
        return options.output / f"{name}_result.json"

    monkeypatch.setattr(pipeline, "predict_scan", done)
    with FileLock(tmp_path / LOCK_NAME), pytest.raises(SystemExit):
        job(tmp_path)
    assert "is writing into this folder" in (tmp_path / "one.log").read_text()
    assert not (tmp_path / "outcomes/one.txt").exists()

    with held(tmp_path, "shared"):
        job(tmp_path)
        assert (tmp_path / "outcomes/one.txt").read_text() == "one_result.json\n"
        partial = tmp_path / ".two.vertseg-partial"
        partial.mkdir()
        (tmp_path / "x.nii").touch()
        assert cli.main(["predict", str(tmp_path / "x.nii"), "--output", str(tmp_path)]) == 2
        assert "or a run of the workflow, is writing" in capsys.readouterr().err
        assert partial.exists()
    with locked_output(tmp_path):
        pass
