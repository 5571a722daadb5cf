"""Fixtures of all tests: small scans with known content."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Several tests run side by side, and threads that wait for each other would take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared/real"

WORKFLOW_PARTS = [
    "LICENSE",
    "Snakefile",
    "captions",
    "config.yaml",
    "config",
    "envs",
    "profiles",
    "resources",
    "rules",
    "schemas",
    "scripts",
    "vertseg",
]
SaveNifti = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with runs of the workflow come first: the others fill the gaps at the end."""
    slow = {item.path for item in items if item.get_closest_marker("workflow")}
    items.sort(key=lambda item: item.path not in slow)


def random_ct(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random HU, int16, with the shares of air, soft tissue and bone that a CT may have."""
    values = np.random.default_rng(seed).normal(40, 300, shape)
    return np.clip(np.rint(values), -1024, 3071).astype(np.int16)


def copy_workflow(folder: Path) -> Path:
    """The workflow without its results, so that a test neither sees nor locks the user's."""
    folder.mkdir(exist_ok=True)
    for part in WORKFLOW_PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    shutil.copy(ROOT / "tests/workflow/miniature.yaml", folder / "config/miniature.yaml")
    return folder


def snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake in a folder; its output. A failure shows all of it."""
    status, output = _run_snakemake(folder, arguments)
    assert status == 0, output
    return output


def failing_snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake in a folder, where it must fail; its output."""
    status, output = _run_snakemake(folder, arguments)
    assert status != 0, output
    return output


def _run_snakemake(folder: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def save_nifti(tmp_path: Path) -> SaveNifti:
    """Write an array as NIfTI below the test's folder and return its path."""

    def save(name: str, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        path = tmp_path / name
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    return save


@pytest.fixture(scope="session")
def verse014() -> Path:
    """Stem of the one public VerSe sample, where it is at hand."""
    folder = REAL_DATA / "verse014"
    if not folder.is_dir():
        pytest.skip(f"the VerSe sample is not at {folder}")
    return folder / "sub-verse014"
