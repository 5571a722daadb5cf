"""Acquisition of phantoms: beams, tube voltages, phases, and presets that stay as they were."""

from dataclasses import replace

import numpy as np
import pytest

from vertseg.phantom import generate_phantom, preset
from vertseg.phantom.acquisition import Beam, density_mg_cc, sample_acquisition

COARSE = {"in_plane_spacing_mm": (2.5, 2.5), "slice_spacing_mm": (4.0, 4.0)}


@pytest.mark.parametrize(
    ("name", "total", "labels"),
    [("full", -1016365546, 39392), ("demo", -64122544, 31665), ("randomised", -876843556, 42312)],
)
def test_presets_give_the_scans_they_always_gave(name: str, total: int, labels: int) -> None:
    # Sums of a scan's HU and labels; a voxel may round differently on another processor.
    phantom = generate_phantom(3, replace(preset(name), **COARSE))
    assert phantom.ct.astype(np.int64).sum() == pytest.approx(total, abs=200)
    assert phantom.mask.astype(np.int64).sum() == labels


def test_a_harder_beam_shows_bone_darker_and_fat_brighter() -> None:
    beams = [Beam(voltage) for voltage in (80.0, 100.0, 120.0, 140.0)]
    means = [float(beam.weights @ beam.energies_kev) for beam in beams]
    assert means == sorted(means) and 50 < means[0] < 60 and 80 < means[3] < 95
    assert [beam.hu_per_mg_cc for beam in beams] == sorted(
        (beam.hu_per_mg_cc for beam in beams), reverse=True
    )
    fat = [beam.hounsfield("fat") for beam in beams]
    assert fat == sorted(fat) and fat[0] > -135 and fat[3] < -90
    assert beams[2].hounsfield("water") == pytest.approx(0, abs=1e-9)


def test_only_a_tube_voltage_makes_an_acquisition() -> None:
    settings = preset("full")
    assert sample_acquisition(np.random.default_rng(0), settings) == (None, settings)


def test_bone_and_soft_tissue_follow_the_tube_voltage() -> None:
    usual = replace(
        preset("calibration"), **COARSE, noise_sd_hu=(1.0, 1.0), contrast_share=0.0, gain_sd=0.0,
        reference_sd_hu=0.0, screw_share=0.0, cement_share=0.0, fracture_share=0.0,
    )  # fmt: skip
    low, high = (
        generate_phantom(4, replace(usual, tube_voltage_kv=(voltage,))) for voltage in (80.0, 140.0)
    )
    np.testing.assert_array_equal(low.mask, high.mask)
    assert (low.truth["tube_voltage_kv"], high.truth["tube_voltage_kv"]) == (80, 140)
    assert low.truth["bmd_mg_cc"] == high.truth["bmd_mg_cc"]
    offset = low.truth["calibration_offset_hu"]
    fat = [np.median(p.ct[(p.ct > -170) & (p.ct < -70)]) - offset for p in (low, high)]
    assert fat[0] == pytest.approx(Beam(80.0).hounsfield("fat"), abs=4)
    assert fat[1] == pytest.approx(Beam(140.0).hounsfield("fat"), abs=4)
    bone = [np.median(p.ct[low.mask > 0] - offset) for p in (low, high)]
    expected = Beam(80.0).hu_per_mg_cc / Beam(140.0).hu_per_mg_cc
    assert bone[0] / bone[1] == pytest.approx(expected, rel=0.05)


def test_density_is_that_of_the_painted_bone() -> None:
    assert density_mg_cc(0) == 0
    assert density_mg_cc(150) == pytest.approx(150 / Beam(120.0).hu_per_mg_cc)
    truth = generate_phantom(3, replace(preset("demo"), **COARSE)).truth
    for name, density in truth["bmd_mg_cc"].items():
        assert density == pytest.approx(density_mg_cc(truth["trabecular_hu"][name]), abs=0.1)


def test_contrast_agent_fits_its_phase() -> None:
    settings = replace(preset("calibration"), contrast_share=1.0)
    for seed in range(20):
        acquisition, fitted = sample_acquisition(np.random.default_rng(seed), settings)
        assert acquisition is not None and fitted.contrast_share == 1
        low, high = fitted.aortic_contrast_hu
        assert (low >= 230) == (acquisition.phase == "arterial") and high > low
        assert acquisition.phase in ("arterial", "portal venous")
