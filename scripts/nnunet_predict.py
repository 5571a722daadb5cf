"""Segment and label the scans that a fold holds out, or those of the external test, by nnU-Net.

Reads the sample sheet with the CTs, the folds, cached scans and weights, of one fold or of several
that predict together; writes, for each scan, the files that `vertseg.evaluation.predictions` names;
for all, settings.json, and in nnunet/ the label maps in nnU-Net's values with nnU-Net's own
summary.json. Usage: LOG --weights FILE... --samples TSV --folds TSV --cache FOLDER --fold K
--device NAME --threads N --gpus N --folder predictions/{method}/fold{k}.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from vertseg.core.files import write_json
from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import logger
from vertseg.core.progress import progress
from vertseg.dataset.folds import EXTERNAL, read_folds
from vertseg.dataset.samples import Sample, read_samples
from vertseg.evaluation.predictions import write_prediction
from vertseg.networks.devices import choose_device
from vertseg.nnunet.dataset import from_nnunet
from vertseg.nnunet.process import nnunet_log
from vertseg.scans.nifti import load_ct
from vertseg.segmentation.cache import read_cache


def main(
    weights: Sequence[str],
    samples: Sequence[Sample],
    cache: Path,
    folder: Path,
    device_name: str,
    summary_processes: int,
) -> None:
    """Predict all scans; `summary_processes` 0: without nnU-Net's summary."""
    # nnU-Net is imported where its absence is explained.
    from vertseg.nnunet.prediction import Predictor

    predictor = Predictor(weights, choose_device(device_name))
    own = folder / "nnunet"
    own.mkdir(parents=True, exist_ok=True)
    for sample in progress(samples, "predicting"):
        ct = load_ct(sample.ct)
        predicted = predictor.predict(ct)
        predictor.save_own(own / f"{sample.scan}.nii.gz", predicted, ct)
        mask = from_nnunet(predicted)
        on_grid = read_cache(cache / f"{sample.scan}.safetensors").transform.encode_labels(mask)
        found = write_prediction(folder, sample.scan, mask, ct.native, on_grid)
        logger.info("%s: %d vertebrae", sample.scan, len(found))
    write_json(folder / "settings.json", predictor.settings())
    if summary_processes:
        predictor.summarise(own, summary_processes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--weights", nargs="+", required=True)
    for name in ("--samples", "--folds", "--fold", "--device"):
        parser.add_argument(name, required=True)
    for name in ("--cache", "--folder"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    given = parser.parse_args()
    with nnunet_log(given.log), claimed_gpus(given.gpus, given.device):
        torch.set_num_threads(given.threads)
        fold_of = read_folds(given.folds)
        main(
            given.weights,
            [s for s in read_samples(given.samples) if fold_of[s.scan] == given.fold],
            given.cache,
            given.folder,
            given.device,
            # nnU-Net's data set has no references of external scans.
            0 if given.fold == EXTERNAL else given.threads,
        )
