"""Many scans in two processes: bad ones, killed processes, an early end."""

import multiprocessing
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vertseg import cli
from vertseg.core.errors import UserError
from vertseg.predict.batch import Batch
from vertseg.predict.earlier import PARTIAL_SUFFIX
from vertseg.predict.pipeline import Options
from vertseg.predict.workers import WORKERS, predict_in_workers
from vertseg.segmentation.model import Model

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Small patients without a spine, one of them in a damaged file."""
    x, y = np.mgrid[-1:1:40j, -1:1:40j]
    radius = np.hypot(x, y)
    section = np.select([radius < 0.2, radius < 0.7, radius < 0.85], [300, 40, -90], -1000)
    patient = np.repeat(section[..., None], 20, axis=-1).astype(np.int16)
    folder = tmp_path_factory.mktemp("scans")
    paths = [folder / f"{name}_ct.nii.gz" for name in NAMES]
    for path in paths:
        nib.save(nib.Nifti1Image(patient, AFFINE), path)
    paths[1].write_bytes(paths[1].read_bytes()[:3000])
    return list(zip(paths, NAMES, strict=True))


def batch(scans: list[tuple[Path, str]], output: Path) -> Batch:
    unused = Model("", "0" * 64, "onnx", {}, lambda images: images)
    return Batch(scans, unused, Options(output, viewer=False, threads=2))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(PARTIAL_SUFFIX)]


def test_a_bad_scan_and_a_killed_process_cost_a_scan_each(tmp_path: Path, scans) -> None:
    all_scans = batch(scans, tmp_path)
    finished = []
    for name in all_scans.predict_all():
        finished.append(name)
        workers = multiprocessing.active_children()
        assert len(workers) <= WORKERS
        if len(finished) == 1:
            for worker in workers:
                worker.kill()
                worker.join()
    assert sorted(finished) == sorted(NAMES)
    assert "b" in all_scans.failed and 2 <= len(all_scans.failed) <= 1 + WORKERS
    reasons = [one.error for one in all_scans.outcomes.values() if not isinstance(one, Path)]
    assert any("was killed" in reason for reason in reasons)
    assert not hidden(tmp_path) and not multiprocessing.active_children()
    for name in NAMES:
        status = "failed" if name in all_scans.failed else "result"
        assert (tmp_path / f"{name}_{status}.json").exists()


def test_an_early_end_leaves_no_process_and_no_temporary_file(tmp_path: Path, scans) -> None:
    running = batch(scans, tmp_path).predict_all()
    next(running)
    running.close()
    assert not multiprocessing.active_children() and not hidden(tmp_path)


def test_a_model_that_cannot_be_loaded_ends_all(tmp_path: Path, scans) -> None:
    jobs = predict_in_workers(scans, tmp_path / "none.onnx", Options(tmp_path))
    with pytest.raises(UserError, match="no such model"):
        next(jobs)
    assert not multiprocessing.active_children()


def test_two_processes_write_what_one_does(tmp_path: Path, scans, monkeypatch, capsys) -> None:
    monkeypatch.setattr("vertseg.predict.batch.LEAST_SCANS", len(scans) + 1)
    paths = [str(path) for path, _ in scans]
    texts = []
    for folder in ("one", "two"):
        call = ["predict", *paths, "--output", str(tmp_path / folder), "--threads", "2"]
        assert cli.main([*call, "--no-report"]) == 1
        assert "failed: 1 (b)" in capsys.readouterr().err
        files = sorted((tmp_path / folder).glob("[a-z]*"))
        texts.append({path.name: path.read_bytes() for path in files if "json" not in path.name})
        monkeypatch.undo()
    assert len(texts[0]) == 4 * 5 and texts[0] == texts[1]
