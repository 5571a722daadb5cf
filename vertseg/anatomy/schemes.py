"""Label schemes: the vertebra that each value of a mask stands for.

A scheme other than VerSe's is a table (TSV) with the columns `value`, a whole number or a range
(`51-117`), and `name`, a vertebra (`C1` to `L6`, `T13`) or `background`.
"""

import os
import re

from vertseg.anatomy.labels import BACKGROUND, IDS, VERTEBRAE
from vertseg.core.errors import UserError
from vertseg.core.tsv import read_tsv

LabelScheme = dict[int, int]
"""VerSe's value by the mask's value. Unlisted values are errors, not background."""

VERSE: LabelScheme = {value: value for value in (BACKGROUND, *VERTEBRAE)}
"""VerSe's own scheme."""

_VALUES = re.compile(r"(\d+)(?:-(\d+))?")


def read_scheme(path: str | os.PathLike[str]) -> LabelScheme:
    """Read a label scheme; an empty path is VerSe's own.

    Raises:
        UserError: the table is missing or malformed, names no vertebra, or gives a value or a
            vertebra twice.
    """
    if not str(path):
        return VERSE
    scheme: LabelScheme = {BACKGROUND: BACKGROUND}
    seen: set[int] = set()
    for line, row in enumerate(read_tsv(path, "label scheme"), 2):
        values, label = _parse(row, f"{path}, line {line}")
        repeated = seen.intersection(values)
        if repeated or (label != BACKGROUND and label in scheme.values()):
            what = f"value {min(repeated)}" if repeated else f"vertebra {row['name']}"
            raise UserError(f"{path}, line {line}: {what} is given twice. Keep one of the two.")
        seen.update(values)
        scheme.update(dict.fromkeys(values, label))
    if set(scheme.values()) == {BACKGROUND}:
        raise UserError(f"{path}: names no vertebra. Its columns must be value and name.")
    return scheme


def _parse(row: dict[str, str], where: str) -> tuple[range, int]:
    match = _VALUES.fullmatch((row.get("value") or "").strip())
    name = (row.get("name") or "").strip()
    if match is None or (name != "background" and name not in IDS):
        raise UserError(
            f"{where}: needs a value (27, or a range: 51-117) and a vertebra's name (C1 to L6, "
            "T13) or background, separated by a tab."
        )
    first, last = int(match[1]), int(match[2] or match[1])
    label = IDS.get(name, BACKGROUND)
    if last < first or (label != BACKGROUND and last != first):
        raise UserError(f"{where}: a vertebra has one value, and ranges go upwards.")
    return range(first, last + 1), label
