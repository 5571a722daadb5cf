"""Small tables of an evaluation, whose summary can be worked out by hand."""

import numpy as np
import pandas as pd

from vertseg.evaluation.scans import SCAN_COLUMNS

METHODS = {
    "ours": {"label": "Ours", "paper": {"multi_label_dice": 0.538, "iterations": 1500}},
    "other": {"label": "Other & co", "paper": None},
}
TRAINING = pd.DataFrame(
    [("ours", 1_278_749, 100, np.nan), ("ours", 1_278_749, 200, np.nan)],
    columns=["method", "parameters", "iterations", "epochs"],
)
DICE = {"ours": [0.5, 0.6, 0.7, 0.9], "other": [0.1, 0.4, 0.3, 0.2]}


def scan_table() -> pd.DataFrame:
    rows = [
        dict.fromkeys(SCAN_COLUMNS, 0.5)
        | {
            "method": method,
            "fold": index // 2,
            "scan": f"s{index}",
            "subject": f"p{min(index, 2)}",
            "multi_label_dice": value,
            "shift": [0, 1, -1, np.nan][index],
            "localisation_error_mm": [2.0, np.nan, 4.0, np.nan][index],
        }
        for method, values in DICE.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=SCAN_COLUMNS)
