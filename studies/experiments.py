"""What does each part of our recipe bring?

    python -m studies.experiments results/experiments/seed*

Reads table1.csv, evaluations and run_cost.tsv of runs of one configuration by several seeds;
prints a Markdown table: a row a recipe, mean and SD over the runs.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from vertseg.anatomy.labels import NAMES
from vertseg.evaluation.files import read_evaluation

GROUPS = {"C": "cervical Dice", "T": "thoracic Dice", "L": "lumbar Dice"}
MEASURES = {
    "multi_label_dice_native": "multi-label Dice",
    "binary_dice_native": "binary Dice",
    "id_rate": "id. rate",
    "all_labels_right": "all labels right",
}


def read_run(folder: Path) -> pd.DataFrame:
    """A run's methods in order: percentages, and minutes of training."""
    evaluation = folder / "evaluation"
    scans = read_evaluation(sorted(evaluation.glob("*/fold*_scans.csv")))
    labels = read_evaluation(sorted(evaluation.glob("*/fold*_labels.csv")))
    order = pd.read_csv(folder / "table1.csv").set_index("key")["method"]
    table = 100 * scans.groupby("method")[list(MEASURES)].mean().rename(columns=MEASURES)
    # A vertebra that is only predicted counts 0, as in multi-label Dice.
    group = labels["label"].map(lambda label: GROUPS[NAMES[label][0]])
    table = table.join(100 * labels.groupby(["method", group])["dice_native"].mean().unstack())
    steps = pd.read_csv(folder / "run_cost.tsv", sep="\t")
    trainings = steps[steps["rule"] == "train"]
    minutes = trainings.set_index(trainings["job"].str.replace(r"_fold\d+$", "", regex=True))
    table["training, min"] = minutes["seconds"].groupby(level=0).sum() / 60
    return table.loc[order.index].rename(index=order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs with different seeds")
    runs = [read_run(folder) for folder in parser.parse_args().runs]
    recipes = pd.concat(runs).groupby(level=0, sort=False)
    seeds, means, deviations = recipes.size(), recipes.mean(), recipes.std(ddof=1)
    order = max(runs, key=len).index
    print(f"| recipe | seeds | {' | '.join(means.columns)} |")
    print(f"|---|---:|{'---:|' * len(means.columns)}")
    for name in order:
        cells = [
            f"{mean:.1f}" + ("" if np.isnan(deviation) else f" ± {deviation:.1f}")
            for mean, deviation in zip(means.loc[name], deviations.loc[name], strict=True)
        ]
        print(f"| {name} | {seeds[name]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
