"""A table as a page of HTML that needs nothing else: for the workflow's report and for browsers."""

import html
import math

import pandas as pd

_STYLE = """
body { font: 13px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 1.2em; }
h1 { font-size: 1.2em; }
table { border-collapse: collapse; }
th, td { padding: 0.3em 0.7em; border-bottom: 1px solid #ddd; text-align: left; }
th { position: sticky; top: 0; background: #fff; border-bottom: 1.5px solid #222; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:hover td { background: #f4f4f4; }
.number { text-align: right; }
p { max-width: 60em; }
"""


def table_page(table: pd.DataFrame, title: str, note: str = "") -> str:
    """A page with one table; NaN is blank, columns of numbers stand to the right.

    Args:
        table: cells of any kind; numbers are shown with four significant digits.
        title: heading of the page.
        note: a paragraph below the table.
    """
    cells = table.map(_text)
    right = {name for name in table.columns if _is_numeric(cells[name])}
    head = "".join(_cell("th", str(name), name in right) for name in table.columns)
    rows = "".join(
        "<tr>"
        + "".join(
            _cell("td", cell, name in right) for name, cell in zip(table.columns, row, strict=True)
        )
        + "</tr>\n"
        for row in cells.to_numpy()
    )
    below = f"<p>{html.escape(note)}</p>\n" if note else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        f"{below}</body>\n</html>\n"
    )


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _is_numeric(cells: pd.Series) -> bool:
    filled = [cell for cell in cells if cell not in ("", "–")]
    return bool(filled) and all(cell.lstrip("-")[:1].isdigit() for cell in filled)


def _cell(tag: str, text: str, right: bool) -> str:
    side = ' class="number"' if right else ""
    return f"<{tag}{side}>{html.escape(text)}</{tag}>"
