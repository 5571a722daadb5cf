"""Segment and label the scans that a fold holds out, or those of the external test.

Reads the folds, cached scans and weights, of one network or of several that predict together;
writes, for each scan, the files that `vertseg.evaluation.predictions` names.
"""

from pathlib import Path

from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import logger, step_log
from vertseg.core.progress import progress
from vertseg.dataset.folds import divide_caches
from vertseg.evaluation.predictions import write_prediction
from vertseg.segmentation.cache import read_cache
from vertseg.segmentation.model import Model, load_models
from vertseg.segmentation.segment import segment
from vertseg.segmentation.settings import Decoding


def main(
    model: Model, caches: list[Path], decoding: Decoding, keep_grid: bool, folder: Path
) -> None:
    """Predict all scans."""
    for path in progress(caches, "predicting"):
        scan = read_cache(path)
        segmented = segment(model, scan.image, scan.transform, decoding)
        on_grid = segmented.on_grid if keep_grid else None
        found = write_prediction(folder, scan.name, segmented.mask, scan.transform.native, on_grid)
        logger.info("%s: %d vertebrae", scan.name, len(found))


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        _, held_out = divide_caches(
            snakemake.input.folds, snakemake.input.caches, snakemake.params.fold
        )
        device = snakemake.params.device
        with claimed_gpus(snakemake.resources.gpu, device):
            main(
                load_models(snakemake.input.weights, snakemake.threads, device),
                held_out,
                snakemake.params.decoding,
                snakemake.params.keep_grid,
                Path(snakemake.output[0]),
            )
