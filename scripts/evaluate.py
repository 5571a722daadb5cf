"""Evaluate a method's predictions of the scans that a fold holds out, or of the external test.

Reads the predictions, the sample sheet, the folds and the cached scans; writes a CSV with
a row for each scan and a CSV with a row for each vertebra.
"""

from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import divide_caches
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import write_csv
from vertseg.evaluation.scans import evaluate_fold


def main(
    method: str,
    fold: str,
    predictions: str,
    samples: str,
    folds: str,
    caches: list[str],
    scans_csv: str,
    labels_csv: str,
    processes: int,
) -> None:
    """Evaluate all scans."""
    _, held_out = divide_caches(folds, caches, fold)
    cache_of = {path.stem: path for path in held_out}
    scans, labels = evaluate_fold(
        method,
        fold,
        [sample for sample in read_samples(samples) if sample.scan in cache_of],
        predictions,
        cache_of,
        processes,
    )
    write_csv(scans, scans_csv)
    write_csv(labels, labels_csv)
    logger.info(
        "%s, %s: multi-label Dice %.3f, identification rate %.3f over %d scans",
        method,
        scans_csv,
        scans["multi_label_dice"].mean(),
        scans["id_rate"].mean(),
        len(scans),
    )


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.wildcards.method,
            snakemake.params.fold,
            snakemake.input.predictions,
            snakemake.input.samples,
            snakemake.input.folds,
            snakemake.input.caches,
            snakemake.output.scans,
            snakemake.output.labels,
            snakemake.threads,
        )
