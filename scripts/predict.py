"""Segment and label the scans that a fold holds out, or those of the external test.

Reads the folds, cached scans and weights, of one network or of several that predict together, and
CTs if they show the outlines; writes, for each scan, the files that
`vertseg.evaluation.predictions` names.
"""

from pathlib import Path

from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import logger, step_log
from vertseg.core.progress import progress
from vertseg.dataset.folds import divide_caches
from vertseg.evaluation.predictions import write_prediction
from vertseg.scans.nifti import load_ct
from vertseg.segmentation.cache import read_cache
from vertseg.segmentation.model import load_models
from vertseg.segmentation.segment import outlined, segment

with step_log(snakemake.log[0]):
    _, held_out = divide_caches(
        snakemake.input.folds, snakemake.input.caches, snakemake.params.fold
    )
    folder, device = Path(snakemake.output[0]), snakemake.params.device
    with claimed_gpus(snakemake.resources.gpu, device):
        model = load_models(snakemake.input.weights, snakemake.threads, device)
        for path in progress(held_out, "predicting"):
            scan = read_cache(path)
            segmented = segment(model, scan.image, scan.transform, snakemake.params.decoding)
            if snakemake.params.cts is not None:
                ct = load_ct(snakemake.params.cts[scan.name])
                segmented = outlined(segmented, ct, snakemake.threads)
            on_grid = segmented.on_grid if snakemake.params.keep_grid else None
            native = scan.transform.native
            found = write_prediction(folder, scan.name, segmented.mask, native, on_grid)
            logger.info("%s: %d vertebrae", scan.name, len(found))
