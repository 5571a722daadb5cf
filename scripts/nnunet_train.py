"""Train one method on one fold by nnU-Net.

Reads nnUNet_preprocessed's data set; writes weights.safetensors, log.csv, progress.png and
settings.json. A killed run continues from nnU-Net's checkpoints in nnUNet_results.
Usage: LOG --settings JSON --fold K --threads N --gpus N --folder models/{method}/fold{k}.
"""

import argparse
import json
from pathlib import Path

import torch

from vertseg.core.gpus import claimed_gpus
from vertseg.networks.devices import choose_device
from vertseg.nnunet.process import nnunet_log
from vertseg.nnunet.settings import NnunetSettings

# nnU-Net spawns its workers, which import this script.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    with nnunet_log(options.log) as terminal:
        settings = NnunetSettings.from_config(options.settings)
        with claimed_gpus(options.gpus, settings.device):
            # Imported here, where a missing nnU-Net is explained.
            from vertseg.nnunet.training import train_fold

            # nnU-Net found that beside a GPU more threads do not help.
            on_cpu = choose_device(settings.device).type == "cpu"
            torch.set_num_threads(options.threads if on_cpu else 1)
            train_fold(settings, options.fold, options.folder, terminal)
