"""Table 1 and the table of labels, from the evaluation's CSVs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vertseg.anatomy.labels import NAMES, RANK
from vertseg.core.errors import UserError
from vertseg.dataset.folds import EXTERNAL
from vertseg.evaluation.files import Methods
from vertseg.evaluation.statistics import (
    cluster_bootstrap_interval,
    holm,
    paired_wilcoxon,
    sd_over_folds,
)

PAPER_KEYS = ("multi_label_dice", "binary_dice", "parameters", "iterations", "epochs")

_WITH_INTERVAL = ("multi_label_dice", "binary_dice", "id_rate", "localisation_error_mm")
_TESTED = ("multi_label_dice", "binary_dice")
_MEANS = (
    "multi_label_dice_reference_labels",
    "multi_label_dice_native",
    "multi_label_dice_native_reference_labels",
    "multi_label_dice_native_interior",
    "binary_dice_native",
    "id_precision",
    "hausdorff_mm",
    "hd95_mm",
    "all_labels_right",
)

_COLUMNS = [
    "method",
    "multi_label_dice",
    "binary_dice",
    "parameters",
    "iterations",
    "epochs",
    "id_rate",
    "localisation_error_mm",
    *(f"{name}_{end}" for name in _WITH_INTERVAL for end in ("low", "high", "sd_folds")),
    *_MEANS,
    "shifted_by_one",
    "shifted_one_up",
    "shifted_one_down",
    *(f"{name}_p" for name in _TESTED),
    "n_scans",
    "n_subjects",
    "n_folds",
    "key",
    *(f"paper_{name}" for name in PAPER_KEYS),
]


def table1(
    scans: pd.DataFrame,
    training: pd.DataFrame,
    methods: Methods,
    reference_method: str,
    seed: int,
) -> pd.DataFrame:
    """Summary of all methods; the paper's values have columns of their own (paper_*).

    Args:
        scans: rows of the evaluation's tables of scans, all methods and folds; or of the
            external test, for which the paper has no values.
        training: from `read_training_metadata`; a method without a row has blanks.
        methods: the methods, in the order of the table.
        reference_method: key of the method that the others are tested against.
        seed: seed of the bootstrap.

    Returns:
        A row for each method: `method` is its label and `key` its key in the configuration.

    Raises:
        UserError: a method has no scans, or other scans than the reference method.
    """
    by_method = {key: _scans_of(scans, key) for key in methods}
    for key, own in by_method.items():
        if set(own["scan"]) != set(by_method[reference_method]["scan"]):
            raise UserError(
                f"Method {key} was evaluated on other scans than {reference_method}: they cannot "
                "be compared. Evaluate both on the same folds."
            )
    rows = [
        _trained(training, key) | _summary(own, seed) | {"key": key}
        for key, own in by_method.items()
    ]
    table = pd.DataFrame(rows)
    for measure in _TESTED:
        table[f"{measure}_p"] = _p_values(by_method, reference_method, measure)
    external = is_external(scans)
    for name in PAPER_KEYS:
        table[f"paper_{name}"] = [
            None if external else (method.get("paper") or {}).get(name)
            for method in methods.values()
        ]
    table.insert(0, "method", [method["label"] for method in methods.values()])
    whole = ["parameters", "iterations", "epochs", "paper_iterations", "paper_epochs"]
    table[whole] = table[whole].astype("float").round().astype("Int64")
    return table[_COLUMNS]


def per_label_table(labels: pd.DataFrame, methods: Methods) -> pd.DataFrame:
    """Mean measures of each label over the data set, from C1 downwards.

    Args:
        labels: rows of the evaluation's tables of labels.
        methods: the methods, in the order of the table.

    Returns:
        Columns method, key, label, name, n (scans with the label in reference or prediction),
        n_reference, n_predicted (scans with it in either mask), dice_grid, dice_native, id_rate,
        localisation_error_mm (of identified vertebrae), hausdorff_mm, hd95_mm.
    """
    rows = []
    for key, method in methods.items():
        own = labels[labels["method"] == key]
        for label in sorted(own["label"].unique(), key=RANK.__getitem__):
            group = own[own["label"] == label]
            rows.append(
                {
                    "method": method["label"],
                    "key": key,
                    "label": label,
                    "name": NAMES[label],
                    "n": len(group),
                    "n_reference": int((group["reference_voxels"] > 0).sum()),
                    "n_predicted": int((group["predicted_voxels"] > 0).sum()),
                    "dice_grid": group["dice_grid"].mean(),
                    "dice_native": group["dice_native"].mean(),
                    "id_rate": group["identified"].mean(),
                    "localisation_error_mm": group.loc[
                        group["identified"] == 1, "distance_mm"
                    ].mean(),
                    "hausdorff_mm": group["hausdorff_mm"].mean(),
                    "hd95_mm": group["hd95_mm"].mean(),
                }
            )
    return pd.DataFrame(rows)


def is_external(scans: pd.DataFrame) -> bool:
    """Whether the rows of a table of scans are those of the external test."""
    return bool((scans["fold"] == EXTERNAL).all())


def _scans_of(scans: pd.DataFrame, key: str) -> pd.DataFrame:
    own = scans[scans["method"] == key].sort_values("scan", ignore_index=True)
    if own.empty:
        raise UserError(f"No scan of method {key} was evaluated. Evaluate it first.")
    repeated = own.loc[own["scan"].duplicated(), "scan"]
    if len(repeated):
        raise UserError(f"Method {key}: {repeated.iloc[0]} was evaluated in more than one fold.")
    return own


def _trained(training: pd.DataFrame, key: str) -> dict[str, float]:
    own = training[training["method"] == key]
    if own["parameters"].nunique() > 1:
        raise UserError(f"Method {key}: its folds' networks differ in size. Train them again.")
    return {name: own[name].mean() for name in ("parameters", "iterations", "epochs")}


def _p_values(
    by_method: Mapping[str, pd.DataFrame], reference_method: str, measure: str
) -> list[float]:
    """Corrected p-value of each method against the reference method, which itself gets NaN."""
    reference = by_method[reference_method].set_index("scan")[measure]
    return holm(
        [
            math.nan
            if key == reference_method
            else paired_wilcoxon(own[measure].to_numpy(), reference.loc[own["scan"]].to_numpy())
            for key, own in by_method.items()
        ]
    )


def _summary(own: pd.DataFrame, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in _WITH_INTERVAL:
        values = own[name].to_numpy(dtype=float)
        row[name] = own[name].mean()
        row[f"{name}_low"], row[f"{name}_high"] = cluster_bootstrap_interval(
            values, own["subject"].to_numpy(), seed
        )
        row[f"{name}_sd_folds"] = sd_over_folds(values, own["fold"].to_numpy())
    row |= {name: own[name].mean() for name in _MEANS}
    shift = own["shift"].to_numpy(dtype=float)
    return row | {
        "shifted_by_one": np.mean(np.abs(shift) == 1),
        "shifted_one_up": np.mean(shift == -1),
        "shifted_one_down": np.mean(shift == 1),
        "n_scans": len(own),
        "n_subjects": own["subject"].nunique(),
        "n_folds": own["fold"].nunique(),
    }
