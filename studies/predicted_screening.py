"""How well do screening measures in a model's label maps of phantoms agree with the truth?

    python -m studies.predicted_screening MASKS results/held_out FIGURE

Reads the label maps that `studies.model_metrics --masks` wrote; writes the Bland-Altman figure
(PDF, PNG) and prints Markdown tables of agreement and of grades.
"""

import argparse
from pathlib import Path

from vertseg.dataset.samples import read_samples
from vertseg.evaluation.screening import agreement, compare_scans, grade_counts
from vertseg.figures.bland_altman import draw_bland_altman
from vertseg.figures.style import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("masks", type=Path, help="folder of label maps")
    parser.add_argument("results", type=Path, help="folder of the run on phantoms")
    parser.add_argument("figure", help="path without suffix")
    parser.add_argument("--spacing-mm", type=float, default=2.5, help="the model's cells")
    options = parser.parse_args()
    table = compare_scans(
        read_samples(options.results / "samples.tsv"),
        [options.masks],
        {"spacing_mm": options.spacing_mm},
    )
    title = "Phantoms, masks predicted by the shipped model"
    save_figure(draw_bland_altman(table, title), [f"{options.figure}.pdf", f"{options.figure}.png"])
    print(f"{table['found'].sum()} of {len(table)} vertebrae found.\n")
    limits = agreement(table)
    print("| quantity | region | vertebrae | scans | bias | limits of agreement |")
    print("|---|---|---:|---:|---:|---|")
    for row in limits.itertuples():
        print(
            f"| {row.quantity} | {row.region} | {row.vertebrae} | {row.scans} | {row.bias:+.1f} "
            f"| {row.lower_limit:+.1f} to {row.upper_limit:+.1f} |"
        )
    counts = grade_counts(table)
    print(f"\n| {' | '.join(counts.columns)} |\n|---|{'---:|' * (len(counts.columns) - 1)}")
    for _, values in counts.iterrows():
        print(f"| {' | '.join(map(str, values))} |")


if __name__ == "__main__":
    main()
