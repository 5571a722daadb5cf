"""Fixtures of all tests: small scans with known content."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared/real"

SaveNifti = Callable[..., Path]


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
