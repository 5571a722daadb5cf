"""Evaluate a method's predictions of the scans that a fold holds out, or of the external test.

Reads the predictions, the sample sheet, the folds and the cached scans; writes a CSV with a row for
each scan and a CSV with a row for each vertebra.
"""

from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import divide_caches
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import write_csv
from vertseg.evaluation.scans import evaluate_fold

with step_log(snakemake.log[0]):
    method, fold = snakemake.wildcards.method, snakemake.params.fold
    _, held_out = divide_caches(snakemake.input.folds, snakemake.input.caches, fold)
    cache_of = {path.stem: path for path in held_out}
    samples = [s for s in read_samples(snakemake.input.samples) if s.scan in cache_of]
    scans, labels = evaluate_fold(
        method, fold, samples, snakemake.input.predictions, cache_of, snakemake.threads
    )
    write_csv(scans, snakemake.output.scans)
    write_csv(labels, snakemake.output.labels)
    logger.info(
        "%s, %s: multi-label Dice %.3f, identification rate %.3f over %d scans",
        method,
        snakemake.output.scans,
        scans["multi_label_dice"].mean(),
        scans["id_rate"].mean(),
        len(scans),
    )
