"""Describe nnU-Net's raw data set, and make our folds its splits.

Reads the folds; writes dataset.json and splits_final.json.
"""

from vertseg.core.files import write_json
from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import read_folds
from vertseg.nnunet.dataset import check_names, dataset_json, splits

with step_log(snakemake.log[0]):
    scans = snakemake.params.scans
    check_names(scans)
    own_splits = splits(read_folds(snakemake.input.folds), scans, snakemake.params.folds)
    write_json(snakemake.output.dataset, dataset_json(len(scans)))
    write_json(snakemake.output.splits, own_splits)
    for fold, split in enumerate(own_splits):
        logger.info("fold %d: %d scans to train on, %d held out", fold, *map(len, split.values()))
