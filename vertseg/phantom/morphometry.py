"""Mean vertebral dimensions by level, from `morphometry.tsv`, which names their sources."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class LevelMorphometry:
    """Mean adult dimensions of one level, in mm, degrees and HU; see the table's header."""

    body_width: float
    body_depth: float
    body_height: float
    disc_height: float
    canal_width: float
    canal_depth: float
    transverse_width: float
    spinous_length: float
    spinous_angle: float
    pedicle_width: float
    pedicle_height: float
    lordosis: float
    trabecular_hu: float


@cache
def morphometry() -> dict[str, LevelMorphometry]:
    """Rows of the table by level name, C1 to L6 with T13."""
    table = files("vertseg.phantom").joinpath("morphometry.tsv").read_text()
    rows = (line for line in table.splitlines() if not line.startswith("#"))
    return {
        row["level"]: LevelMorphometry(
            **{
                name: float(value)
                for name, value in row.items()
                if name not in ("level", "sources")
            }
        )
        for row in csv.DictReader(rows, delimiter="\t")
    }
