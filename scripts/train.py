"""Train one method's network on one fold.

Reads cached scans; writes the network's weights and a table of losses. A checkpoint and
TensorBoard files live beside them in the same folder, which a killed run goes on from.
"""

from pathlib import Path

import torch

from vertseg.devices import keep_freed_memory
from vertseg.logs import step_log
from vertseg.training import TrainingSettings, train

if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(snakemake.threads)
    with step_log(snakemake.log[0]):
        train(
            TrainingSettings.from_config(snakemake.params.settings),
            [Path(path) for path in snakemake.input.training],
            [Path(path) for path in snakemake.input.validation],
            Path(snakemake.params.folder),
            Path(snakemake.output.weights),
            Path(snakemake.output.log),
        )
