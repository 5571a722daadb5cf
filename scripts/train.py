"""Train one method's network on one fold.

Reads the folds and the cached scans; writes the network's weights and a table of losses. A
checkpoint and TensorBoard files live beside them, which a killed run goes on from.
"""

from pathlib import Path

import torch

from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import step_log
from vertseg.dataset.folds import divide_caches
from vertseg.networks.devices import keep_freed_memory
from vertseg.training.loop import train
from vertseg.training.settings import TrainingSettings

if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(snakemake.threads)
    with step_log(snakemake.log[0]):
        training, validation = divide_caches(
            snakemake.input.folds, snakemake.input.caches, snakemake.wildcards.fold
        )
        with claimed_gpus(snakemake.resources.gpu, snakemake.params.settings["device"]):
            train(
                TrainingSettings.from_config(snakemake.params.settings),
                training,
                validation,
                Path(snakemake.params.folder),
                snakemake.params.code,
            )
