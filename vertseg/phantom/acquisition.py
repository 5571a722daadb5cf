"""Tube voltage, contrast phase and calibration errors of a scanner, for tests of bone density.

The anatomy is painted in HU at 120 kV. A polychromatic beam turns those into the HU of another tube
voltage: soft tissue by the attenuation of fat and muscle, bone as K2HPO4 in water, all else bright
as iodine in blood. The measurement, which assumes photons of one energy, shares only the tissues'
coefficients with this.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertseg.phantom.geometry import Floats
from vertseg.phantom.raster import DistanceField
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.tissue import AIR_HU, FAT_HU, MUSCLE_HU, Canvas
from vertseg.screening.photons import DENSITY_G_CC, mass_attenuation

Phase = Literal["none", "arterial", "portal venous"]

NOMINAL_KV = 120.0
"""Tube voltage at which the phantom's anatomy is painted."""

_PHASES: dict[Phase, dict[str, tuple[float, float]]] = {
    "none": {"aorta": (0, 0), "muscle": (0, 0), "marrow": (0, 0)},
    "arterial": {"aorta": (230, 380), "muscle": (0, 6), "marrow": (0, 8)},
    "portal venous": {"aorta": (120, 190), "muscle": (4, 14), "marrow": (4, 18)},
}
"""Ranges of the aorta's HU, and of the rise of muscle and marrow, at 120 kV."""

_ENERGIES_KEV = np.arange(20.0, 141.0)
_ALUMINIUM_CM, _PATIENT_CM = 0.7, 20.0
"""Filters of the beam: the tube's, and water in place of the patient."""


@dataclass(frozen=True)
class Acquisition:
    """Acquisition of one scan.

    Attributes:
        tube_voltage_kv: peak voltage of the tube.
        phase: contrast phase.
        gain: factor on all HU above air.
        fat_hu: rise of this patient's fat above the usual HU of fat, at 120 kV.
        muscle_hu: the same of muscle, contrast agent included.
        marrow_hu: rise of spongy bone by contrast agent.
    """

    tube_voltage_kv: float
    phase: Phase
    gain: float
    fat_hu: float
    muscle_hu: float
    marrow_hu: float


def sample_acquisition(
    rng: np.random.Generator, settings: PhantomSettings
) -> tuple[Acquisition | None, PhantomSettings]:
    """Sample an acquisition, and settings whose contrast agent fits its phase.

    Returns:
        None and the settings as they are if these name no tube voltage.
    """
    if not settings.tube_voltage_kv:
        return None, settings
    phases: tuple[Phase, ...] = ("none", "arterial", "portal venous")
    share = settings.contrast_share / 2
    phase = phases[int(rng.choice(3, p=(1 - 2 * share, share, share)))]
    ranges = _PHASES[phase]
    acquisition = Acquisition(
        tube_voltage_kv=float(rng.choice(settings.tube_voltage_kv)),
        phase=phase,
        gain=float(rng.normal(1, settings.gain_sd)),
        fat_hu=float(rng.normal(0, settings.reference_sd_hu)),
        muscle_hu=float(rng.normal(0, settings.reference_sd_hu) + rng.uniform(*ranges["muscle"])),
        marrow_hu=float(rng.uniform(*ranges["marrow"])),
    )
    contrast = phase != "none"
    aorta = ranges["aorta"] if contrast else settings.aortic_contrast_hu
    return acquisition, replace(settings, contrast_share=float(contrast), aortic_contrast_hu=aorta)


def expose(canvas: Canvas, bones: DistanceField, acquisition: Acquisition) -> None:
    """Turn painted HU into those of the acquisition, in place, the offset excepted."""
    beam, nominal = Beam(acquisition.tube_voltage_kv), Beam(NOMINAL_KV)
    bone = bones.distance < 0
    spongy = canvas.hu[bone] + np.float32(acquisition.marrow_hu)
    hu = _soft_tissue(canvas.hu, beam, nominal, acquisition)
    hu[bone] = spongy * np.float32(beam.hu_per_mg_cc / nominal.hu_per_mg_cc)
    gain = np.float32(acquisition.gain)
    canvas.hu[...] = (hu - np.float32(AIR_HU)) * gain + np.float32(AIR_HU)


def density_mg_cc(painted_hu: float) -> float:
    """Density of K2HPO4 in water with the HU at which spongy bone is painted."""
    return painted_hu / Beam(NOMINAL_KV).hu_per_mg_cc


def describe_acquisition(acquisition: Acquisition) -> dict[str, Any]:
    """The acquisition as plain values for the phantom's description."""
    return {
        "tube_voltage_kv": acquisition.tube_voltage_kv,
        "phase": acquisition.phase,
        "gain": round(acquisition.gain, 4),
        "marrow_contrast_hu": round(acquisition.marrow_hu, 1),
    }


class Beam:
    """A tube's spectrum behind its filter and the patient, and the HU that it gives.

    The spectrum is Kramers' law, weighted with the photon's energy as the detector does.

    Args:
        tube_voltage_kv: peak voltage, at most 140.
    """

    def __init__(self, tube_voltage_kv: float) -> None:
        self.energies_kev = _ENERGIES_KEV[tube_voltage_kv > _ENERGIES_KEV]
        photons = tube_voltage_kv / self.energies_kev - 1
        filtered = np.exp(
            -2.7 * _ALUMINIUM_CM * mass_attenuation("aluminium", self.energies_kev)
            - _PATIENT_CM * mass_attenuation("water", self.energies_kev)
        )
        weights = photons * filtered * self.energies_kev
        self.weights: Floats = weights / weights.sum()

    def attenuation(self, material: str) -> float:
        """Mean mass attenuation coefficient in cm2/g."""
        return float(self.weights @ mass_attenuation(material, self.energies_kev))

    def hounsfield(self, tissue: str) -> float:
        """HU of a tissue."""
        relative = DENSITY_G_CC[tissue] * self.attenuation(tissue) / self.attenuation("water")
        return 1000 * (relative - 1)

    @property
    def hu_per_mg_cc(self) -> float:
        """Rise in HU for each mg/cc of K2HPO4 in water."""
        ratio = self.attenuation("K2HPO4") / self.attenuation("water")
        return ratio - 1 / DENSITY_G_CC["K2HPO4"]

    @property
    def hu_per_mg_iodine(self) -> float:
        """Rise in HU for each mg/cc of iodine."""
        return self.attenuation("iodine") / self.attenuation("water")


def _soft_tissue(
    hu: NDArray[np.float32], beam: Beam, nominal: Beam, acquisition: Acquisition
) -> NDArray[np.float32]:
    """HU (x, y, z) of air, fat, muscle and contrast agent: piecewise linear between these."""
    brightest = MUSCLE_HU + 1000.0
    iodine = beam.hu_per_mg_iodine / nominal.hu_per_mg_iodine
    fat = beam.hounsfield("fat") + acquisition.fat_hu
    muscle = beam.hounsfield("muscle") + acquisition.muscle_hu
    painted = [AIR_HU, FAT_HU, MUSCLE_HU, MUSCLE_HU + 20, brightest]
    shown = [AIR_HU, fat, muscle, muscle + 20, muscle + 20 + 980 * iodine]
    return np.interp(hu, painted, shown).astype(np.float32)
