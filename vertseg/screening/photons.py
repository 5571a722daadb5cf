"""Attenuation of tissues by photon energy, from `photons.tsv`, which names its sources."""

import csv
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

DENSITY_G_CC = {
    "water": 1.0,
    "air": 0.0012,
    "fat": 0.93,
    "muscle": 1.05,
    "blood": 1.06,
    "K2HPO4": 2.44,
}
"""Mass densities: tissues of ICRU Reports 44 and 46, crystals of K2HPO4."""


@cache
def coefficients() -> dict[str, NDArray[np.float64]]:
    """Columns of the table: `energy_kev`, and mass attenuation coefficients in cm2/g."""
    table = files("vertseg.screening").joinpath("photons.tsv").read_text()
    rows = (line for line in table.splitlines() if not line.startswith("#"))
    columns = list(csv.DictReader(rows, delimiter="\t"))
    return {name: np.array([float(row[name]) for row in columns]) for name in columns[0]}


def mass_attenuation(material: str, energy_kev: ArrayLike) -> NDArray[np.float64]:
    """Mass attenuation coefficients in cm2/g at energies of 20 to 150 keV, log-log interpolated."""
    table = coefficients()
    logarithm = np.interp(np.log(energy_kev), np.log(table["energy_kev"]), np.log(table[material]))
    return np.exp(logarithm)


def hounsfield(tissue: str, energy_kev: ArrayLike) -> NDArray[np.float64]:
    """HU of a pure tissue for photons of one energy."""
    water = mass_attenuation("water", energy_kev)
    return 1000 * (DENSITY_G_CC[tissue] * mass_attenuation(tissue, energy_kev) / water - 1)


def hu_per_mg_cc(energy_kev: ArrayLike) -> NDArray[np.float64]:
    """Rise in HU for each mg of K2HPO4 in a cubic centimetre, which takes the place of water."""
    ratio = mass_attenuation("K2HPO4", energy_kev) / mass_attenuation("water", energy_kev)
    return ratio - 1 / DENSITY_G_CC["K2HPO4"]
