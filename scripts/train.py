"""Train one method's network on one fold.

Reads the folds and the cached scans; writes the network's weights and a table of losses. A
checkpoint and TensorBoard files live beside them, which a killed run goes on from.
"""

from pathlib import Path

import torch

from vertseg.devices import keep_freed_memory
from vertseg.folds import divide_caches
from vertseg.gpus import claimed_gpus
from vertseg.logs import step_log
from vertseg.training import TrainingSettings, train

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
                Path(snakemake.output.weights),
                Path(snakemake.output.log),
            )
