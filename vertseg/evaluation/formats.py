"""Table 1 for readers: Markdown, LaTeX, HTML, and the note that stands below it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from vertseg.evaluation.pages import table_page
from vertseg.evaluation.tables import PAPER_KEYS, is_external


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
    external = is_external(scans)
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


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _latex(text: str) -> str:
    for plain, escaped in (("%", r"\%"), ("&", r"\&"), ("_", r"\_"), ("#", r"\#")):
        text = text.replace(plain, escaped)
    return text
