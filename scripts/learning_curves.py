"""Draw the learning curves of all methods and folds.

Reads the training logs (models/{method}/fold{k}/log.csv); writes learning_curves.{pdf,png}.
"""

from pathlib import Path

import pandas as pd

from vertseg.core.logs import step_log
from vertseg.figures.learning import draw_learning_curves
from vertseg.figures.style import save_figure

with step_log(snakemake.log[0]):
    logs: dict[str, dict[int, pd.DataFrame]] = {}
    for path in map(Path, snakemake.input):
        fold = int(path.parent.name.removeprefix("fold"))
        logs.setdefault(path.parent.parent.name, {})[fold] = pd.read_csv(path)
    titles = {key: method["label"] for key, method in snakemake.params.methods.items()}
    save_figure(draw_learning_curves(logs, titles), snakemake.output)
