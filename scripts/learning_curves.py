"""Draw the learning curves of all methods and folds.

Reads the training logs (models/{method}/fold{k}/log.csv); writes learning_curves.{pdf,png}.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vertseg.core.logs import step_log
from vertseg.evaluation.files import Methods
from vertseg.figures.learning import draw_learning_curves
from vertseg.figures.style import save_figure


def main(log_paths: Sequence[str], methods: Methods, targets: Sequence[str]) -> None:
    """Draw all logs into one figure."""
    logs: dict[str, dict[int, pd.DataFrame]] = {}
    for path in map(Path, log_paths):
        fold = int(path.parent.name.removeprefix("fold"))
        logs.setdefault(path.parent.parent.name, {})[fold] = pd.read_csv(path)
    titles = {key: method["label"] for key, method in methods.items()}
    save_figure(draw_learning_curves(logs, titles), targets)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(list(snakemake.input), snakemake.params.methods, list(snakemake.output))
