"""The rule of what a CT is, for tissues mixed by hand and for real scans."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import REAL_DATA

from vertseg.core.errors import UserError
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.volumes import Geometry, Volume

SHAPE = (40, 40, 40)
TISSUE_HU = {"fat": -100, "muscle": 55, "organ": 120, "bone": 350}
FEW_BONES = {"bone": 0.05}
BODIES = {
    "even": {"fat": 0.45, "muscle": 0.5},
    "fat": {"fat": 0.8, "muscle": 0.15},
    "lean": {"fat": 0.05, "muscle": 0.9},
    "contrast": {"fat": 0.3, "muscle": 0.2, "organ": 0.45},
}
"""Shares of tissues in a crop without air."""


def crop(shares: dict[str, float], noise_hu: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    names = list(shares | FEW_BONES)
    kinds = rng.choice(names, SHAPE, p=[(shares | FEW_BONES)[name] for name in names])
    values = np.vectorize(TISSUE_HU.get)(kinds) + rng.normal(0, noise_hu, SHAPE)
    return np.rint(values).astype(np.int16)


def is_ct(array: np.ndarray) -> bool:
    volume = Volume(array, np.eye(4), Geometry(array.shape, np.eye(4)))
    try:
        check_ct(volume, Path("scan"))
    except UserError as error:
        assert "not a CT in Hounsfield units" in str(error)
        return False
    return True


@pytest.mark.parametrize("noise_hu", [5, 15, 30, 60])
@pytest.mark.parametrize("name", BODIES)
def test_crops_without_air_are_cts(name: str, noise_hu: float) -> None:
    assert is_ct(crop(BODIES[name], noise_hu))


@pytest.mark.parametrize("noise_hu", [5, 15])
@pytest.mark.parametrize("name", BODIES)
def test_inverted_crops_without_air_are_refused(name: str, noise_hu: float) -> None:
    assert not is_ct(-crop(BODIES[name], noise_hu))


@pytest.mark.parametrize("name", ["candat_pat1", "gate_hn", "popi00", "sts018", "verse014"])
def test_a_real_scan_is_a_ct_unless_it_is_inverted(name: str) -> None:
    path = REAL_DATA / f"bodies/{name}_ct.nii.gz"
    if name == "verse014":
        path = REAL_DATA / "verse014/sub-verse014_ct.nii.gz"
    if not path.is_file():
        pytest.skip(f"no scan at {path}")
    ct = np.asarray(nib.load(path).dataobj).astype(np.int16)
    assert is_ct(ct)
    if name != "verse014":  # Hardly any fat, and much contrast: its inversion looks like a CT.
        assert not is_ct(-ct)
