"""Assign scans to folds.

Reads the audit's labels; writes folds.tsv (scan, subject, fold: 0, 1, ...).
"""

import pandas as pd

from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import assign_folds, write_folds

with step_log(snakemake.log[0]):
    subject_of, number = snakemake.params.subject_of, snakemake.params.number
    # A scan without a spine has no labels: an empty text, not a missing value.
    audit = pd.read_csv(snakemake.input.audit, sep="\t", dtype=str, keep_default_na=False)
    labels = audit.set_index("scan")["labels"].str.split()
    fold_of = assign_folds(subject_of, labels, number, snakemake.params.seed)
    write_folds(snakemake.output[0], subject_of, fold_of)

    for fold in range(number):
        held_out = labels[[scan for scan in fold_of if fold_of[scan] == fold]]
        counts = ", ".join(f"{name} {n}" for name, n in held_out.explode().value_counts().items())
        logger.info("fold %d: %d scans; %s", fold, len(held_out), counts)
