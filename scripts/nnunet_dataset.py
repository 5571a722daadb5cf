"""Describe nnU-Net's raw data set, and make our folds its splits.

Reads the folds; writes dataset.json and splits_final.json.
"""

from collections.abc import Sequence

from vertseg.core.files import write_json
from vertseg.core.logs import logger, step_log
from vertseg.dataset.folds import read_folds
from vertseg.nnunet.dataset import check_names, dataset_json, splits


def main(folds: str, scans: Sequence[str], number: int, dataset: str, split_file: str) -> None:
    """Write both files."""
    check_names(scans)
    own_splits = splits(read_folds(folds), scans, number)
    write_json(dataset, dataset_json(len(scans)))
    write_json(split_file, own_splits)
    for fold, split in enumerate(own_splits):
        logger.info("fold %d: %d scans to train on, %d held out", fold, *map(len, split.values()))


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.input.folds,
            snakemake.params.scans,
            snakemake.params.folds,
            snakemake.output.dataset,
            snakemake.output.splits,
        )
