"""Table 1 and the table of labels, from the evaluation's CSVs."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from vertseg.errors import UserError
from vertseg.files import atomic_path
from vertseg.folds import EXTERNAL
from vertseg.labels import NAMES, RANK
from vertseg.pages import table_page
from vertseg.statistics import (
    cluster_bootstrap_interval,
    holm,
    paired_wilcoxon,
    sd_over_folds,
)

Methods = Mapping[str, Mapping[str, Any]]
"""Rows of the table in order: key -> {"label": str, "paper": mapping or None}."""

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


def read_evaluation(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Read and join CSVs that the evaluation wrote.

    Raises:
        UserError: a file is missing or is no such table.
    """
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path, dtype={"method": str, "scan": str, "subject": str})
        except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Evaluate again.") from error
        if not {"method", "fold", "scan"} <= set(table.columns):
            raise UserError(f"{path}: not an evaluation's table. Evaluate again.")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def write_csv(table: pd.DataFrame, target: str | os.PathLike[str]) -> None:
    """Write a table of results atomically, with six significant digits."""
    with atomic_path(target) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def read_training_metadata(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Read parameters and iterations from the headers of weights files.

    Args:
        paths: `models/{method}/fold{k}/weights.safetensors`; the folders name method and fold.

    Returns:
        A row for each file: method, parameters, iterations, epochs (blank where a training is not
        counted in epochs).

    Raises:
        UserError: a file cannot be read or does not state both.
    """
    rows = []
    for path in map(Path, paths):
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = json.loads((file.metadata() or {})["vertseg"])
            parameters, iterations = int(metadata["parameters"]), int(metadata["iterations"])
            epochs = metadata.get("epochs", math.nan)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: states no parameters and iterations ({error!r}). Train again."
            ) from error
        rows.append((path.parent.parent.name, parameters, iterations, epochs))
    return pd.DataFrame(rows, columns=["method", "parameters", "iterations", "epochs"])


def table1(
    scans: pd.DataFrame,
    training: pd.DataFrame,
    methods: Methods,
    reference_method: str,
    seed: int,
) -> pd.DataFrame:
    """Summarise all methods; the paper's values stand in columns of their own (paper_*).

    Args:
        scans: rows of the evaluation's tables of scans, all methods and folds; or of the
            external test, which the paper has no values of.
        training: from `read_training_metadata`; a method without training has blanks.
        methods: the rows, in order.
        reference_method: key of the method that the others are tested against.
        seed: of the bootstrap.

    Returns:
        One row a method: `method` is its label and `key` its key in the configuration.

    Raises:
        UserError: a method has no scans, or other scans than the reference method.
    """
    by_method = {key: _scans_of(scans, key) for key in methods}
    reference = by_method[reference_method]
    for key, own in by_method.items():
        if set(own["scan"]) != set(reference["scan"]):
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
        raw = [
            math.nan
            if key == reference_method
            else paired_wilcoxon(
                own[measure].to_numpy(),
                reference.set_index("scan").loc[own["scan"], measure].to_numpy(),
            )
            for key, own in by_method.items()
        ]
        table[f"{measure}_p"] = holm(raw)
    external = _is_external(scans)
    for name in PAPER_KEYS:
        table[f"paper_{name}"] = [
            None if external else (method.get("paper") or {}).get(name)
            for method in methods.values()
        ]
    table.insert(0, "method", [method["label"] for method in methods.values()])
    whole = ["parameters", "iterations", "epochs", "paper_iterations", "paper_epochs"]
    table[whole] = table[whole].astype("float").round().astype("Int64")
    return table[_columns()]


def per_label_table(labels: pd.DataFrame, methods: Methods) -> pd.DataFrame:
    """Mean measures of each label over the data set, from C1 downwards.

    Args:
        labels: rows of the evaluation's tables of labels.
        methods: the methods, in order.

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


def note(scans: pd.DataFrame, excluded: Sequence[str] = ()) -> str:
    """What stands below the table: which scans were predicted by what.

    Args:
        scans: rows of the evaluation's tables of scans; all methods have the same scans.
        excluded: scans that the configuration leaves out; the note names them.
    """
    distinct = scans.drop_duplicates("scan")
    number = (
        f"{_plural(len(distinct), 'scan')} of {_plural(distinct['subject'].nunique(), 'subject')}"
    )
    external = _is_external(scans)
    if external:
        means = f"{number}, none of them trained on, predicted by all folds' networks together"
    else:
        folds = _plural(distinct["fold"].nunique(), "fold")
        means = f"{number} in {folds}, each predicted by a network that did not train on it"
    return (
        f"Means over {means}; 95 % bootstrap intervals over subjects in brackets. "
        "Dice is measured on the network's grid."
        + ("" if external else " The paper's values are for VerSe20.")
        + (f" Left out by the configuration: {', '.join(excluded)}." if excluded else "")
    )


def to_markdown(table: pd.DataFrame, note: str) -> str:
    """Table 1 for a README: Dice and identification in %, 95 % intervals in brackets.

    Args:
        table: from `table1`.
        note: stands below.
    """
    columns = {**_measured_columns(table, "–"), **_paper_columns(table, "–")}
    header = list(columns)
    lines = [
        "| " + " | ".join(header) + " |",
        "| " + " | ".join(["---", *["---:"] * (len(header) - 1)]) + " |",
        *("| " + " | ".join(cells) + " |" for cells in zip(*columns.values(), strict=True)),
    ]
    return "\n".join(lines) + "\n\n" + note + "\n"


def to_latex(table: pd.DataFrame, note: str) -> str:
    """Table 1 as a LaTeX tabular; needs the package booktabs. Arguments as in `to_markdown`."""
    measured, paper = _measured_columns(table, "--"), _paper_columns(table, "--")
    first, last = len(measured) + 1, len(measured) + len(paper)
    header = [*measured, *(name.removeprefix("Paper: ") for name in paper)]
    rows = zip(*measured.values(), *paper.values(), strict=True)
    groups = (
        [
            rf"\multicolumn{{{len(measured)}}}{{c}}{{This run}} & "
            rf"\multicolumn{{{len(paper)}}}{{c}}{{Paper}} \\",
            rf"\cmidrule(r){{1-{len(measured)}}} \cmidrule(l){{{first}-{last}}}",
        ]
        if paper
        else []
    )
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (last - 1)}}}",
        r"\toprule",
        *groups,
        " & ".join(map(_latex, header)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {_latex(note)}",
    ]
    return "\n".join(lines) + "\n"


def to_html(table: pd.DataFrame, title: str, note: str) -> str:
    """Table 1 as a page of HTML. Arguments as in `to_markdown`, and the page's heading."""
    columns = {**_measured_columns(table, "–"), **_paper_columns(table, "–")}
    return table_page(pd.DataFrame(columns), title, note)


def _columns() -> list[str]:
    main = ["multi_label_dice", "binary_dice", "parameters", "iterations", "epochs", "id_rate"]
    spread = [f"{name}_{end}" for name in _WITH_INTERVAL for end in ("low", "high", "sd_folds")]
    return [
        "method",
        *main,
        "localisation_error_mm",
        *spread,
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


def _measured_columns(table: pd.DataFrame, blank: str) -> dict[str, list[str]]:
    return {
        "Method": table["method"].tolist(),
        "Multi-label Dice (%)": _with_interval(table, "multi_label_dice", 100, blank),
        "Binary Dice (%)": _with_interval(table, "binary_dice", 100, blank),
        "Id. rate (%)": _with_interval(table, "id_rate", 100, blank),
        "Loc. error (mm)": _with_interval(table, "localisation_error_mm", 1, blank),
        "Parameters": [_short(value, blank) for value in table["parameters"]],
        "Iterations": _lengths(table["iterations"], table["epochs"], blank),
    }


def _paper_columns(table: pd.DataFrame, blank: str) -> dict[str, list[str]]:
    if table[[f"paper_{name}" for name in PAPER_KEYS]].isna().all(axis=None):
        return {}
    return {
        "Paper: multi-label Dice (%)": _percent(table["paper_multi_label_dice"], blank),
        "Paper: binary Dice (%)": _percent(table["paper_binary_dice"], blank),
        "Paper: parameters": [_text(value, blank) for value in table["paper_parameters"]],
        "Paper: iterations": _lengths(table["paper_iterations"], table["paper_epochs"], blank),
    }


def _with_interval(table: pd.DataFrame, name: str, factor: float, blank: str) -> list[str]:
    cells = []
    for value, low, high in table[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float):
        if math.isnan(value):
            cells.append(blank)
        elif math.isnan(low):
            cells.append(f"{factor * value:.1f}")
        else:
            cells.append(f"{factor * value:.1f} [{factor * low:.1f}, {factor * high:.1f}]")
    return cells


def _percent(values: pd.Series, blank: str) -> list[str]:
    return [blank if pd.isna(value) else f"{100 * value:.1f}" for value in values]


def _short(count: Any, blank: str) -> str:
    if pd.isna(count):
        return blank
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


def _lengths(iterations: pd.Series, epochs: pd.Series, blank: str) -> list[str]:
    """Lengths of trainings as text: iterations, epochs, or iterations (epochs)."""
    cells = []
    for steps, rounds in zip(iterations, epochs, strict=True):
        if pd.isna(rounds):
            cells.append(_text(steps, blank))
        elif pd.isna(steps):
            cells.append(_plural(rounds, "epoch"))
        else:
            cells.append(f"{steps} ({_plural(rounds, 'epoch')})")
    return cells


def _text(value: Any, blank: str) -> str:
    return blank if pd.isna(value) else str(value)


def _is_external(scans: pd.DataFrame) -> bool:
    return bool((scans["fold"] == EXTERNAL).all())


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _latex(text: str) -> str:
    for plain, escaped in (("%", r"\%"), ("&", r"\&"), ("_", r"\_"), ("#", r"\#")):
        text = text.replace(plain, escaped)
    return text
