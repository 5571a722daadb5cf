"""Bone density: tables of attenuation, references in drawn scans, the fit, and the real sample."""

from pathlib import Path

import numpy as np
import pytest

from vertseg.anatomy.labels import IDS
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import measure_spine
from vertseg.screening.density import Calibration, calibrate
from vertseg.screening.photons import hounsfield, hu_per_mg_cc, mass_attenuation
from vertseg.screening.references import FoundTissue, find_references

NIST_CM2_G = {
    # NIST, X-Ray Mass Attenuation Coefficients, at 60 and 80 keV.
    "water": (0.2059, 0.1837),
    "air": (0.1875, 0.1662),
    "muscle": (0.2048, 0.1823),
    "blood": (0.2057, 0.1827),
    "aluminium": (0.2778, 0.2018),
    "iodine": (7.579, 3.510),
}


@pytest.mark.parametrize(("material", "expected"), NIST_CM2_G.items())
def test_coefficients_agree_with_nists(material: str, expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(mass_attenuation(material, [60, 80]), expected, rtol=0.005)


def test_tissues_have_their_usual_hounsfield_units() -> None:
    assert hounsfield("water", 70) == 0
    assert hounsfield("air", 70) == pytest.approx(-1000, abs=2)
    assert -112 < hounsfield("fat", 66) < -95
    assert 40 < hounsfield("muscle", 66) < 60
    energies = np.arange(50, 100, 5)
    assert (np.diff(hounsfield("fat", energies)) > 0).all()
    assert (np.diff(hu_per_mg_cc(energies)) < 0).all()


def tissues(energy: float, gain: float, offset: float, names: str) -> list[FoundTissue]:
    return [
        FoundTissue(name, "somewhere", gain * float(hounsfield(name, energy)) + offset, 50.0)
        for name in names.split()
    ]


@pytest.mark.parametrize("energy", [55, 66, 75])
@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (1.02, 6), (0.98, -8)])
def test_the_fit_recovers_density_of_a_known_scanner(energy, gain, offset) -> None:
    calibration = calibrate(tissues(energy, gain, offset, "air fat muscle"))
    assert calibration.residual_hu is not None and calibration.residual_hu < 2
    for density in (50, 120, 200):
        hu = gain * density * float(hu_per_mg_cc(energy)) + offset
        # The usual energy pulls the fit by a few per cent.
        assert calibration.density_mg_cc(hu) == pytest.approx(density, rel=0.06, abs=4)


def test_a_known_tube_voltage_outweighs_a_patients_fat() -> None:
    found = tissues(66, 1, 0, "air fat muscle")
    found[1] = FoundTissue("fat", "somewhere", found[1].hu + 6, 50.0)
    hu = 120 * float(hu_per_mg_cc(66))
    errors = [abs(calibrate(found, voltage).density_mg_cc(hu) - 120) for voltage in (120.0, None)]
    assert errors[0] < 6 < errors[1]


def test_density_needs_fat_and_muscle_and_says_so() -> None:
    calibration = calibrate(tissues(66, 1, 0, "air muscle"))
    assert calibration.density_mg_cc(150) is None
    assert calibration.suppressed == ("bone density (no fat found as reference)",)
    assert [one.tissue for one in calibration.references] == ["air", "muscle"]
    assert calibrate([]).suppressed == ("bone density (no fat and no muscle found as reference)",)
    assert Calibration().density_mg_cc(150) is None


def test_references_that_do_not_fit_give_no_density() -> None:
    found = tissues(66, 1, 0, "air fat")
    calibration = calibrate([*found, FoundTissue("muscle", "beside the spine", -20.0, 50.0)])
    assert calibration.density_mg_cc(150) is None
    assert calibration.residual_hu is not None and calibration.residual_hu > 8
    assert "HU from any fit" in calibration.suppressed[0]


def test_native_blood_counts_and_contrast_agent_is_told() -> None:
    native = calibrate(tissues(66, 1, 0, "fat muscle blood"))
    assert native.contrast_agent is False
    assert all(one.fitted_hu is not None for one in native.references)
    found = [*tissues(66, 1, 0, "fat muscle"), FoundTissue("blood", "in the aorta", 260.0, 2.0)]
    enhanced = calibrate(found)
    assert enhanced.contrast_agent is True
    assert enhanced.references[-1].fitted_hu is None
    assert calibrate(found[:2]).contrast_agent is None


FAT, MUSCLE, AORTA, AIR = -103.0, 52.0, 200.0, -998.0


def drawn_patient(outside: bool = True, aorta: bool = True) -> tuple[Volume, np.ndarray]:
    """A cylinder of fat with muscles beside two bodies and a vessel before them; 2 mm voxels."""
    shape = (110, 110, 44)
    x, y = (2.0 * np.arange(count) - 110 for count in shape[:2])
    x, y = x[:, None], y[None, :]
    hu = np.full(shape[:2], AIR if outside else FAT)
    hu[np.hypot(x, y) < 100] = FAT
    for side in (-1, 1):
        hu[np.hypot(x - side * 40, y + 30) < 24] = MUSCLE
    if aorta:
        hu[np.hypot(x + 15, y - 35) < 11] = AORTA
    body = (np.hypot(x, y) < 18) | ((np.abs(x) < 10) & (y < -25) & (y > -60))
    hu[body] = 300
    ct = np.repeat(hu[..., None], shape[2], axis=2)
    mask = np.zeros(shape, np.uint8)
    mask[body, 4:20], mask[body, 24:40] = IDS["L1"], IDS["L2"]
    noise = np.random.default_rng(0).normal(0, 15, shape)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return Volume((ct + noise).astype(np.int16), affine, Geometry(shape, affine)), mask


def test_references_are_found_where_they_lie() -> None:
    found = {one.tissue: one for one in find_references(*drawn_patient())}
    assert found["air"].hu == pytest.approx(AIR, abs=2)
    assert found["fat"].hu == pytest.approx(FAT, abs=2) and found["fat"].place == "under the skin"
    assert found["muscle"].hu == pytest.approx(MUSCLE, abs=3)
    assert found["blood"].hu == pytest.approx(AORTA, abs=12)


def test_a_crop_without_skin_and_vessel_has_fat_around_the_spine() -> None:
    found = {one.tissue: one for one in find_references(*drawn_patient(False, False))}
    assert found.keys() == {"fat", "muscle"}
    assert found["fat"].place == "around the spine"
    assert found["fat"].hu == pytest.approx(FAT, abs=2)


def test_padding_is_neither_air_nor_fat() -> None:
    ct, mask = drawn_patient()
    array = ct.array.copy()
    array[:30] = array[-30:] = array[:, :20] = array[:, -20:] = -1024
    found = {one.tissue: one for one in find_references(Volume(array, ct.affine, ct.native), mask)}
    assert "air" not in found
    assert found["fat"].hu == pytest.approx(FAT, abs=2)


def test_a_scan_without_vertebrae_has_no_references() -> None:
    ct, mask = drawn_patient()
    assert find_references(ct, np.zeros_like(mask)) == []


def test_the_real_samples_density_is_near_the_published_one(verse014: Path) -> None:
    ct = load_ct(f"{verse014}_ct.nii.gz")
    spine = measure_spine(ct, load_mask(f"{verse014}_seg-vert_msk.nii.gz", ct.native).array)
    assert {one.tissue for one in spine.calibration.references} == {"fat", "muscle"}
    densities = {one.name: one.bmd_mg_cc for one in spine.vertebrae}
    # Bonelab/spineFE-benchmark, results/verse19fem_AppendixA.csv: L1 to L4, phantomless.
    mean = np.mean([densities[name] for name in ("L1", "L2", "L3", "L4")])
    assert mean == pytest.approx(118.5, abs=12)
