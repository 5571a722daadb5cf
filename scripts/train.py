"""Train one method's network on one fold.

Reads the folds and the cached scans; writes the network's weights and a table of losses. Beside
them lie TensorBoard files and a checkpoint, from which a killed run continues.
"""

from pathlib import Path

import torch

from vertseg.core.gpus import claimed_gpus
from vertseg.core.logs import step_log
from vertseg.dataset.folds import divide_caches
from vertseg.networks.devices import keep_freed_memory
from vertseg.training.loop import train
from vertseg.training.settings import TrainingSettings

with step_log(snakemake.log[0]):
    keep_freed_memory()
    torch.set_num_threads(snakemake.threads)
    settings = TrainingSettings.from_config(snakemake.params.settings)
    training, validation = divide_caches(
        snakemake.input.folds, snakemake.input.caches, snakemake.wildcards.fold
    )
    with claimed_gpus(snakemake.resources.gpu, settings.device):
        train(
            settings,
            training,
            validation,
            Path(snakemake.params.folder),
            snakemake.params.code,
        )
