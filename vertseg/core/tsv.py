"""Tab-separated tables with a header line."""

import csv
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path

_BEYOND = "\t"
"""Key of the cells that no column has; no header can hold it."""


def write_tsv(path: str | os.PathLike[str], columns: list[str], rows: Iterable[Iterable]) -> None:
    """Write a tab-separated table with a header line, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_tsv(path: str | os.PathLike[str], what: str) -> list[dict[str, str]]:
    """Read a tab-separated table with a header line.

    Args:
        path: the table.
        what: kind of table, for the message.

    Raises:
        UserError: the file is missing or not such a table, columns have one name, or a row has more
            cells than the header.
    """
    rows = []
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey=_BEYOND, delimiter="\t")
            names = Counter(name.strip() for name in reader.fieldnames or () if name.strip())
            repeated = [name for name, count in names.items() if count > 1]
            if repeated:
                raise UserError(
                    f"{path}: several columns are named {repeated[0]!r}. Keep one of them, or "
                    "rename the others."
                )
            for row in reader:
                if any(cell.strip() for cell in row.pop(_BEYOND, ())):
                    raise UserError(
                        f"{path}: line {reader.line_num} has more cells than the header. Check "
                        "its tabs."
                    )
                rows.append(row)
    except OSError as error:
        raise UserError(f"{path}: no such {what} ({error.strerror}).") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a tab-separated table ({error}).") from error
    return rows
