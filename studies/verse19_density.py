"""How well does bone density agree with published values of VerSe'19 scans?

    python -m studies.verse19_density verse19fem_AppendixA.csv FIGURE --results RESULTS
    python -m studies.verse19_density verse19fem_AppendixA.csv FIGURE --scan sub-verse014 CT MASK

The table is in https://github.com/Bonelab/spineFE-benchmark (results/). Takes results of `vertseg
predict`, or CTs with their reference masks. Prints each scan and the agreement, and writes the
Bland-Altman figure with strength over density (PDF, PNG).
"""

import argparse
from pathlib import Path

import pandas as pd

from vertseg.core.errors import UserError
from vertseg.evaluation.published import compare_densities, compare_strengths, read_published
from vertseg.figures.published import draw_published
from vertseg.figures.style import save_figure
from vertseg.predict.cohort import read_cohort
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.screening import measure_spine


def measured(scan: str, ct_path: str, mask_path: str) -> pd.DataFrame:
    """Columns scan, name, trabecular_hu and bmd_mg_cc of a scan's reference mask."""
    ct = load_ct(ct_path)
    spine = measure_spine(ct, load_mask(mask_path, ct.native).array)
    print(f"{scan}: {spine.calibration}\n")
    return pd.DataFrame(
        {"scan": scan, "name": one.name, "trabecular_hu": one.trabecular_hu,
         "bmd_mg_cc": one.bmd_mg_cc}
        for one in spine.vertebrae
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="verse19fem_AppendixA.csv")
    parser.add_argument("figure", help="path without suffix")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="results of predict")
    parser.add_argument(
        "--scan", nargs=3, action="append", default=[], metavar=("NAME", "CT", "MASK")
    )
    options = parser.parse_args()
    published, strengths = read_published(options.table)
    tables = [measured(*scan) for scan in options.scan]
    if options.results:
        tables.append(read_cohort(options.results)[0])
    if not tables:
        parser.error("give --results or --scan")
    vertebrae = pd.concat(tables, ignore_index=True)
    densities = compare_densities(vertebrae, published)
    levels, correlation = compare_strengths(vertebrae, strengths)
    if densities.empty:
        raise UserError("No scan is among the published ones, by the number after `verse`.")
    save_figure(
        draw_published(densities, levels, correlation),
        [f"{options.figure}.pdf", f"{options.figure}.png"],
    )
    print(densities.to_string(index=False, float_format="%.1f"), "\n")
    print(levels.to_string(index=False, float_format="%.1f"), "\n")
    difference = densities["measured_mg_cc"] - densities["published_mg_cc"]
    bias, reach = difference.mean(), 1.96 * difference.std()
    print(f"Bias {bias:+.1f} mg/cc, limits {bias - reach:+.1f} to {bias + reach:+.1f} mg/cc.")
    print(f"Rank correlation with strength: {correlation:.2f} ({len(levels)} levels).")


if __name__ == "__main__":
    main()
