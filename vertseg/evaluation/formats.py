"""Table 1 for readers: Markdown, LaTeX, HTML, and the note below it."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from vertseg.evaluation.pages import MISSING, table_page
from vertseg.evaluation.tables import PAPER_KEYS, is_external

_MEASURED, _PAPER = "This run", "Paper"
"""Groups of columns."""


def note(scans: pd.DataFrame, excluded: Sequence[str] = ()) -> str:
    """The note below the table: number of scans, networks that predicted them, excluded scans.

    Args:
        scans: rows of the evaluation's tables of scans; all methods have the same scans.
        excluded: scans that the configuration leaves out.
    """
    distinct = scans.drop_duplicates("scan")
    number = (
        f"{_plural(len(distinct), 'scan')} of {_plural(distinct['subject'].nunique(), 'subject')}"
    )
    external = is_external(scans)
    if external:
        means = f"{number}, none of them trained on, predicted by the folds' networks together"
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
        note: paragraph below the table.
    """
    cells = _with_flat_headings(table)
    lines = [
        _markdown_row(cells.columns),
        _markdown_row(["---", *["---:"] * (cells.shape[1] - 1)]),
        *map(_markdown_row, cells.to_numpy().tolist()),
    ]
    return "\n".join(lines) + "\n\n" + note + "\n"


def to_latex(table: pd.DataFrame, note: str) -> str:
    """Table 1 as a LaTeX tabular, which needs the package booktabs; the note is a comment below.

    Args:
        table: from `table1`.
        note: plain text; in a comment, nothing of it is escaped.
    """
    cells = pd.DataFrame(_columns(table), dtype=object)
    if cells.columns.get_level_values(0).nunique() == 1:
        cells = cells.droplevel(0, axis="columns")
    style = (
        cells.style.hide(axis="index")
        .format(escape="latex", na_rep="--")
        .format_index(axis="columns", escape="latex")
    )
    column_format = "l" + "r" * (cells.shape[1] - 1)
    tabular = style.to_latex(column_format=column_format, hrules=True, multicol_align="c")
    # A bracket that starts a row would be an optional argument of the line before.
    return re.sub(r"^\[", "{}[", tabular, flags=re.MULTILINE) + f"% {note}\n"


def to_html(table: pd.DataFrame, title: str, note: str) -> str:
    """Table 1 as a page of HTML.

    Args:
        table: from `table1`.
        title: heading of the page.
        note: paragraph below the table.
    """
    return table_page(_with_flat_headings(table), title, note)


def _columns(table: pd.DataFrame) -> dict[tuple[str, str], list[str | None]]:
    """Texts of the cells, None where blank, by group of columns and heading."""
    measured: dict[str, list[str | None]] = {
        "Method": table["method"].tolist(),
        "Multi-label Dice (%)": _with_interval(table, "multi_label_dice", 100),
        "Binary Dice (%)": _with_interval(table, "binary_dice", 100),
        "Id. rate (%)": _with_interval(table, "id_rate", 100),
        "Loc. error (mm)": _with_interval(table, "localisation_error_mm", 1),
        "Parameters": [_short(value) for value in table["parameters"]],
        "Iterations": _lengths(table["iterations"], table["epochs"]),
    }
    paper = {
        "multi-label Dice (%)": _percent(table["paper_multi_label_dice"]),
        "binary Dice (%)": _percent(table["paper_binary_dice"]),
        "parameters": [_text(value) for value in table["paper_parameters"]],
        "iterations": _lengths(table["paper_iterations"], table["paper_epochs"]),
    }
    columns = {(_MEASURED, heading): texts for heading, texts in measured.items()}
    if table[[f"paper_{name}" for name in PAPER_KEYS]].notna().any(axis=None):
        columns |= {(_PAPER, heading): texts for heading, texts in paper.items()}
    return columns


def _with_flat_headings(table: pd.DataFrame) -> pd.DataFrame:
    """Texts of the cells, a dash where blank; the paper's headings start with "Paper: "."""
    return pd.DataFrame(
        {
            heading if group == _MEASURED else f"{group}: {heading}": texts
            for (group, heading), texts in _columns(table).items()
        },
        dtype=object,
    ).fillna(MISSING)


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def _with_interval(table: pd.DataFrame, name: str, factor: float) -> list[str | None]:
    cells: list[str | None] = []
    for value, low, high in table[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float):
        if math.isnan(value):
            cells.append(None)
        elif math.isnan(low):
            cells.append(f"{factor * value:.1f}")
        else:
            cells.append(f"{factor * value:.1f} [{factor * low:.1f}, {factor * high:.1f}]")
    return cells


def _percent(values: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else f"{100 * value:.1f}" for value in values]


def _short(count: Any) -> str | None:
    if pd.isna(count):
        return None
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


def _lengths(iterations: pd.Series, epochs: pd.Series) -> list[str | None]:
    """Lengths of trainings as text: iterations, epochs, or iterations (epochs)."""
    cells: list[str | None] = []
    for steps, rounds in zip(iterations, epochs, strict=True):
        if pd.isna(rounds):
            cells.append(_text(steps))
        elif pd.isna(steps):
            cells.append(_plural(rounds, "epoch"))
        else:
            cells.append(f"{steps} ({_plural(rounds, 'epoch')})")
    return cells


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
