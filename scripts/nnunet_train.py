"""Train one method on one fold by nnU-Net.

Reads nnUNet_preprocessed's data set; writes weights.safetensors, log.csv, progress.png and
settings.json. nnU-Net's checkpoints lie in nnUNet_results, from where a killed run goes on.
Usage: LOG --settings JSON --fold K --threads N --gpus N --folder models/{method}/fold{k}.
"""

import argparse
import json
from pathlib import Path
from typing import TextIO

import torch

from vertseg.core.gpus import claimed_gpus
from vertseg.networks.devices import choose_device
from vertseg.nnunet.process import nnunet_log
from vertseg.nnunet.settings import NnunetSettings


def main(settings: NnunetSettings, fold: int, threads: int, folder: Path, terminal: TextIO) -> None:
    """Train the fold; with so many threads where a CPU does."""
    # nnU-Net is imported where its absence is explained.
    from vertseg.nnunet.training import train_fold

    # nnU-Net found that beside a GPU more threads do not help.
    torch.set_num_threads(threads if choose_device(settings.device).type == "cpu" else 1)
    train_fold(settings, fold, folder, terminal)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    with nnunet_log(given.log) as terminal_stream:
        recipe = NnunetSettings.from_config(given.settings)
        with claimed_gpus(given.gpus, recipe.device):
            main(recipe, given.fold, given.threads, given.folder, terminal_stream)
