"""Assign scans to folds.

Reads the sample sheet and the audit's labels; writes folds.tsv (scan, subject, fold: 0, 1, ... or
"external").
"""

from collections.abc import Collection

import pandas as pd

from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import assign_folds, write_folds
from vertseg.dataset.samples import read_samples


def main(
    sheet: str, audit: str, external: Collection[str], number: int, seed: int, target: str
) -> None:
    """Write the folds and log what they hold."""
    # A scan without a spine has no labels: an empty text, not a missing value.
    table = pd.read_csv(audit, sep="\t", dtype=str, keep_default_na=False)
    labels = table.set_index("scan")["labels"].str.split()
    samples = read_samples(sheet)
    development = [sample for sample in samples if sample.scan not in external]
    fold_of = assign_folds(development, labels, number, seed)
    write_folds(target, samples, fold_of)
    for fold in range(number):
        held = labels[[scan for scan in fold_of if fold_of[scan] == fold]]
        counts = ", ".join(f"{name} {n}" for name, n in held.explode().value_counts().items())
        logger.info("fold %d: %d scans; %s", fold, len(held), counts)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.input.samples,
            snakemake.input.audit,
            snakemake.params.external,
            snakemake.params.number,
            snakemake.params.seed,
            snakemake.output[0],
        )
