"""Evaluate a method's predictions of a fold's validation scans.

Reads the predictions, the sample sheet, the folds and the fold's cached scans; writes a CSV with
a row for each scan and a CSV with a row for each vertebra.
"""

from pathlib import Path

import pandas as pd

from vertseg.evaluation import evaluate_fold
from vertseg.logs import logger, step_log
from vertseg.samples import read_samples
from vertseg.tables import write_csv


def main(
    method: str,
    fold: int,
    predictions: str,
    samples: str,
    folds: str,
    caches: list[str],
    scans_csv: str,
    labels_csv: str,
    processes: int,
) -> None:
    """Evaluate one fold."""
    fold_of = pd.read_csv(folds, sep="\t", dtype={"scan": str}).set_index("scan")["fold"]
    validation = [sample for sample in read_samples(samples) if fold_of[sample.scan] == fold]
    scans, labels = evaluate_fold(
        method,
        fold,
        validation,
        predictions,
        {Path(path).name.removesuffix(".safetensors"): path for path in caches},
        processes,
    )
    write_csv(scans, scans_csv)
    write_csv(labels, labels_csv)
    logger.info(
        "%s, fold %d: multi-label Dice %.3f, identification rate %.3f over %d scans",
        method,
        fold,
        scans["multi_label_dice"].mean(),
        scans["id_rate"].mean(),
        len(scans),
    )


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.wildcards.method,
            int(snakemake.wildcards.fold),
            snakemake.input.predictions,
            snakemake.input.samples,
            snakemake.input.folds,
            snakemake.input.caches,
            snakemake.output.scans,
            snakemake.output.labels,
            snakemake.threads,
        )
