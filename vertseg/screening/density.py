"""Bone density from HU, calibrated by tissues in the scan itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vertseg.screening.frames import Floats
from vertseg.screening.photons import hounsfield, hu_per_mg_cc
from vertseg.screening.references import FoundTissue, Tissue

SPREAD_HU = {"air": 10.0, "fat": 4.0, "muscle": 4.0, "blood": 6.0}
"""Standard deviation of a tissue's HU between patients and places; of air by scatter and by noise
that is cut off at -1024 HU."""

GAIN_SD, OFFSET_SD_HU = 0.03, 10.0
"""Spread of scanners' errors of scale and of zero."""

ENERGY_KEV, ENERGY_SD_KEV = 66.0, 12.0
"""Usual effective energy of a CT, and its spread from 80 to 140 kV and with patients' size."""

ENERGY_OF_VOLTAGE_KEV = {80.0: 54.0, 100.0: 60.5, 120.0: 66.0, 140.0: 72.0}
"""Effective energy for bone by tube voltage, behind the tube's filter and a patient of 20 cm."""
VOLTAGE_SD_KEV = 1.5
"""Its spread with filters and patients' size."""

NATIVE_BLOOD_HU = 90.0
"""Smallest calibrated HU of the aorta that only contrast agent explains."""

LARGEST_RESIDUAL_HU = 8.0
"""Largest root mean square of the references' distance from a fit that is used."""

_ALWAYS: tuple[Tissue, ...] = ("air", "fat", "muscle")
_ENERGIES_KEV = np.arange(45.0, 100.5, 0.5)


@dataclass(frozen=True)
class Reference:
    """A tissue that took part in the calibration, or was left out.

    Attributes:
        tissue: "air", "fat", "muscle" or "blood".
        place: where it was found, in words.
        hu: its HU in the scan.
        fitted_hu: HU of that tissue after the fit; None if it was not used.
        volume_ml: volume that was looked at.
    """

    tissue: str
    place: str
    hu: float
    fitted_hu: float | None
    volume_ml: float


@dataclass(frozen=True)
class Calibration:
    """From HU to density, in one scan; all None without references that fit.

    Attributes:
        references: tissues found in the scan.
        effective_energy_kev: photon energy at which the references fit best.
        gain: HU of the scan for each true HU.
        offset_hu: HU of water in the scan.
        hu_per_mg_cc: true HU for each mg/cc of K2HPO4.
        residual_hu: root mean square of the references' distance from the fit.
        contrast_agent: presence of contrast agent in the aorta; None if the aorta was not found.
        suppressed: reasons without a calibration.
    """

    references: tuple[Reference, ...] = ()
    effective_energy_kev: float | None = None
    gain: float | None = None
    offset_hu: float | None = None
    hu_per_mg_cc: float | None = None
    residual_hu: float | None = None
    contrast_agent: bool | None = None
    suppressed: tuple[str, ...] = ()

    def density_mg_cc(self, hu: float) -> float | None:
        """Density of K2HPO4 in water that has this HU; None without a calibration."""
        if self.gain is None or self.offset_hu is None or self.hu_per_mg_cc is None:
            return None
        return (hu - self.offset_hu) / self.gain / self.hu_per_mg_cc


def calibrate(found: Sequence[FoundTissue], tube_voltage_kv: float | None = None) -> Calibration:
    """Fit effective energy, gain and offset to the references' known attenuation.

    The most probable values under normal errors: references spread around their tissue's HU by
    `SPREAD_HU`, gain, offset and energy around their usual values. Blood counts unless it holds
    contrast agent.

    Args:
        found: references in the scan; fat and muscle are needed.
        tube_voltage_kv: the tube's peak voltage, where it is known: it narrows the energy down.
    """
    usual = _usual_energy(tube_voltage_kv)
    by_tissue = {one.tissue: one for one in found}
    missing = [tissue for tissue in ("fat", "muscle") if tissue not in by_tissue]
    if missing:
        reason = f"bone density (no {' and no '.join(missing)} found as reference)"
        references = tuple(_reference(one, None) for one in found)
        return Calibration(references, suppressed=(reason,))
    tissues: list[Tissue] = [one for one in _ALWAYS if one in by_tissue]
    energy, gain, offset = _fit(tissues, [by_tissue[tissue].hu for tissue in tissues], usual)
    contrast = None
    if blood := by_tissue.get("blood"):
        contrast = (blood.hu - offset) / gain > NATIVE_BLOOD_HU
        if not contrast:
            tissues.append("blood")
            energy, gain, offset = _fit(
                tissues, [by_tissue[tissue].hu for tissue in tissues], usual
            )
    fitted = {tissue: gain * float(hounsfield(tissue, energy)) + offset for tissue in tissues}
    references = tuple(_reference(one, fitted.get(one.tissue)) for one in found)
    residuals = [by_tissue[tissue].hu - fitted[tissue] for tissue in tissues]
    residual_hu = float(np.sqrt(np.mean(np.square(residuals))))
    if residual_hu > LARGEST_RESIDUAL_HU:
        reason = f"bone density (references lie {residual_hu:.0f} HU from any fit)"
        return Calibration(references, residual_hu=round(residual_hu, 1), suppressed=(reason,))
    return Calibration(
        references,
        effective_energy_kev=energy,
        gain=round(gain, 4),
        offset_hu=round(offset, 1),
        hu_per_mg_cc=round(float(hu_per_mg_cc(energy)), 4),
        residual_hu=round(residual_hu, 1),
        contrast_agent=contrast,
    )


def _reference(one: FoundTissue, fitted_hu: float | None) -> Reference:
    rounded = None if fitted_hu is None else round(fitted_hu, 1)
    return Reference(one.tissue, one.place, one.hu, rounded, one.volume_ml)


def _usual_energy(tube_voltage_kv: float | None) -> tuple[float, float]:
    """Mean and SD of the effective energy in keV, interpolated between tube voltages."""
    if tube_voltage_kv is None:
        return ENERGY_KEV, ENERGY_SD_KEV
    voltages, energies = zip(*ENERGY_OF_VOLTAGE_KEV.items(), strict=True)
    return float(np.interp(tube_voltage_kv, voltages, energies)), VOLTAGE_SD_KEV


def _fit(
    tissues: Sequence[str], measured: Sequence[float], usual_kev: tuple[float, float]
) -> tuple[float, float, float]:
    """Most probable effective energy in keV, gain and offset in HU.

    Args:
        tissues: references.
        measured: their HU.
        usual_kev: mean and SD of the effective energy.
    """
    spread = np.array([SPREAD_HU[tissue] for tissue in tissues])
    best: tuple[float, float, Floats] | None = None
    for energy in _ENERGIES_KEV:
        true = np.array([float(hounsfield(tissue, energy)) for tissue in tissues])
        design = np.stack([true, np.ones_like(true)], axis=1) / spread[:, None]
        design = np.vstack([design, [1 / GAIN_SD, 0], [0, 1 / OFFSET_SD_HU]])
        target = np.append(np.array(measured) / spread, [1 / GAIN_SD, 0])
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        cost = float(np.sum((design @ solution - target) ** 2))
        cost += ((energy - usual_kev[0]) / usual_kev[1]) ** 2
        if best is None or cost < best[0]:
            best = cost, float(energy), solution
    assert best is not None
    return best[1], float(best[2][0]), float(best[2][1])
