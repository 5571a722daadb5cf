"""How well does bone density agree with phantoms' known densities over tube voltages?

    python -m studies.bone_density FIGURE [--scans 72] [--processes 4]

Generates phantoms of the preset `calibration` and measures them in their reference masks: with HU
turned into density as at 120 kV, calibrated by the scan's own tissues, and the same with the tube
voltage known, as from a DICOM header. Prints Markdown tables and writes a Bland-Altman figure (PDF,
PNG).
"""

import argparse

import numpy as np
import pandas as pd

from vertseg.core.parallel import run_jobs
from vertseg.figures.density import METHODS, draw_density_agreement
from vertseg.figures.style import save_figure
from vertseg.phantom import generate_phantom, preset, scan_seed
from vertseg.phantom.acquisition import NOMINAL_KV, Beam
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import measure_spine
from vertseg.screening.density import calibrate
from vertseg.screening.references import find_references

SUMMARISED = ("T12", "L1", "L2", "L3")


def compare(number: int, seed: int) -> list[dict]:
    """Rows of true and measured density of one phantom's vertebrae."""
    phantom = generate_phantom(scan_seed(seed, f"phantom{number}"), preset("calibration"))
    truth = phantom.truth
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    measured = measure_spine(ct, phantom.mask)
    known = calibrate(find_references(ct, phantom.mask), truth["tube_voltage_kv"])
    nominal = Beam(NOMINAL_KV).hu_per_mg_cc
    cemented = truth["implants"]["cement"]
    return [
        {
            "scan": f"phantom{number}",
            "name": one.name,
            "kv": truth["tube_voltage_kv"],
            "phase": truth["phase"],
            "true": truth["bmd_mg_cc"][one.name],
            "uncalibrated": one.trabecular_hu / nominal,
            "calibrated": one.bmd_mg_cc,
            "calibrated_kv": known.density_mg_cc(one.trabecular_hu),
            "energy_kev": measured.calibration.effective_energy_kev,
            "references": " ".join(r.tissue for r in measured.calibration.references),
        }
        for one in measured.vertebrae
        if one.trabecular_hu is not None and one.name not in cemented
    ]


def of_scans(table: pd.DataFrame) -> pd.DataFrame:
    """Median of T12 to L3 of each scan, true and measured."""
    part = table[table["name"].isin(SUMMARISED)]
    keys = ["scan", "kv", "phase"]
    return part.groupby(keys)[["true", *METHODS]].median().reset_index()


def print_table(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n\n| method | tube voltage, phase | values | bias | limits of agreement |")
    print("|---|---|---:|---:|---|")
    groups = [("all", table)]
    groups += [(f"{kv:.0f} kV", part) for kv, part in table.groupby("kv")]
    groups += [(phase, part) for phase, part in table.groupby("phase")]
    for method, name in METHODS.items():
        for group, part in groups:
            difference = (part[method] - part["true"]).dropna()
            bias, reach = difference.mean(), 1.96 * difference.std()
            print(
                f"| {name} | {group} | {len(difference)} | {bias:+.1f} | {bias - reach:+.1f} to "
                f"{bias + reach:+.1f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", help="path without suffix")
    parser.add_argument("--scans", type=int, default=72)
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    jobs = [(number, options.seed) for number in range(1, options.scans + 1)]
    rows = run_jobs(compare, jobs, options.processes, "phantoms")
    table = pd.DataFrame([row for scan in rows for row in scan])
    scans = of_scans(table)
    figure = draw_density_agreement(scans, "Phantoms, median of T12 to L3, reference masks")
    save_figure(figure, [f"{options.figure}.pdf", f"{options.figure}.png"])
    print(f"{scans['calibrated'].notna().sum()} of {len(scans)} scans calibrated.")
    print_table("Median of T12 to L3, mg/cc", scans)
    lumbar = table["name"].str.startswith("L")
    print_table("Lumbar vertebrae, mg/cc", table[lumbar])
    print_table("Thoracic vertebrae, mg/cc", table[~lumbar])
    print(f"\nMean true density: {np.mean(table['true']):.0f} mg/cc.")


if __name__ == "__main__":
    main()
