"""Segment and label the scans that a fold holds out, or those of the external test, by nnU-Net.

Reads the sample sheet with the CTs, the folds, cached scans and weights, of one fold or of several
that predict together; writes, for each scan, the files that `vertseg.evaluation.predictions` names;
for all, settings.json, and in nnunet/ the label maps in nnU-Net's values with nnU-Net's own
summary.json. Usage: LOG --weights FILE... --samples TSV --folds TSV --cache FOLDER --fold K
--device NAME --threads N --gpus N --folder predictions/{method}/fold{k}.
"""

import argparse
from pathlib import Path

import torch

from vertseg.core.files import write_json
from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import logger
from vertseg.core.progress import progress
from vertseg.dataset.folds import EXTERNAL, read_folds
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.predictions import write_prediction
from vertseg.networks.devices import choose_device
from vertseg.nnunet.dataset import from_nnunet
from vertseg.nnunet.process import nnunet_log
from vertseg.scans.nifti import load_ct
from vertseg.segmentation.cache import read_cache

# nnU-Net spawns its workers, which import this script.
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
    options = parser.parse_args()
    folder = options.folder
    with nnunet_log(options.log), claimed_gpus(options.gpus, options.device):
        # Imported here, where a missing nnU-Net is explained.
        from vertseg.nnunet.prediction import Predictor

        torch.set_num_threads(options.threads)
        fold_of = read_folds(options.folds)
        all_samples = read_samples(options.samples)
        samples = [s for s in all_samples if fold_of.get(s.scan, EXTERNAL) == options.fold]
        predictor = Predictor(options.weights, choose_device(options.device))
        nnunet_folder = folder / "nnunet"
        nnunet_folder.mkdir(parents=True, exist_ok=True)
        for sample in progress(samples, "predicting"):
            ct = load_ct(sample.ct)
            predicted = predictor.predict(ct)
            predictor.save_own(nnunet_folder / f"{sample.scan}.nii.gz", predicted, ct)
            mask = from_nnunet(predicted)
            cached = read_cache(options.cache / f"{sample.scan}.safetensors")
            on_grid = cached.transform.encode_labels(mask)
            found = write_prediction(folder, sample.scan, mask, ct.native, on_grid)
            logger.info("%s: %d vertebrae", sample.scan, len(found))
        write_json(folder / "settings.json", predictor.settings())
        # nnU-Net's data set has no references of external scans.
        if options.fold != EXTERNAL:
            predictor.summarise(nnunet_folder, options.threads)
