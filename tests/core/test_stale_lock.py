import subprocess
import sys
from pathlib import Path

import pytest

from vertseg.core.stale_lock import LOCKS, is_stale


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of a Snakemake that makes results/demo/a, in the current folder."""
    monkeypatch.chdir(tmp_path)
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.input.lock").write_text("config.yaml\n")
    (LOCKS / "0.output.lock").write_text("results/demo/a\n")
    return LOCKS / "0.output.lock"


def test_a_lock_without_a_process_is_stale(lock: Path) -> None:
    assert is_stale("results/demo")
    lock.unlink()
    (LOCKS / "0.input.lock").unlink()
    assert not is_stale("results/demo")


def test_a_lock_for_other_results_stays(lock: Path) -> None:
    lock.write_text("results/demo/a\nresults/demo2/b\n")
    assert not is_stale("results/demo")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_living_snakemake_keeps_its_lock(lock: Path, elsewhere: bool) -> None:
    folder = Path("/") if elsewhere else Path.cwd()
    code = "print('here', flush=True); import time; time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code, "snakemake"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "here\n"
            assert is_stale("results/demo") == elsewhere
        finally:
            process.kill()
