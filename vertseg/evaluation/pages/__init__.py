"""Tables as pages of HTML that need no other file: for the workflow's report and for browsers."""

import math

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from vertseg import __version__

MISSING = "–"


def table_page(table: pd.DataFrame, title: str, note: str = "") -> str:
    """A page with one table; NaN is blank, columns of numbers stand to the right.

    Args:
        table: cells of any kind; numbers are shown with four significant digits.
        title: heading of the page.
        note: a paragraph below the table.
    """
    cells = table.map(_text)
    environment = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        columns=[str(name) for name in table.columns],
        numeric=[_is_numeric(cells[name]) for name in table.columns],
        rows=cells.to_numpy().tolist(),
        note=note,
        version=__version__,
    )


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _is_numeric(cells: pd.Series) -> bool:
    filled = [cell for cell in cells if cell not in ("", MISSING)]
    return bool(filled) and all(cell.lstrip("-")[:1].isdigit() for cell in filled)
