"""Tables of results on disk: CSVs that the evaluation wrote, headers of weights files."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path

Methods = Mapping[str, Mapping[str, Any]]
"""Rows of a table in order: key -> {"label": str, "paper": mapping or None}."""


TEXTS = ("method", "key", "scan", "subject", "name", "rule", "job", "content")
"""Columns of tables of results whose cells are texts, whatever they look like."""


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of results (CSV, or TSV by its name).

    Cells are missing where they are blank, and texts stay texts: a scan may be named 007 or NA.
    """
    return pd.read_csv(
        path,
        sep="\t" if str(path).endswith(".tsv") else ",",
        dtype=dict.fromkeys(TEXTS, str),
        keep_default_na=False,
        na_values=[""],
    )


def read_evaluation(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Read and join CSVs that the evaluation wrote.

    Raises:
        UserError: a file is missing or not a table of the evaluation.
    """
    tables = []
    for path in paths:
        try:
            table = read_table(path)
        except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Evaluate again.") from error
        if not {"method", "fold", "scan"} <= set(table.columns):
            raise UserError(f"{path}: not a table of the evaluation. Evaluate again.")
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
        A row for each file: method, parameters, iterations, epochs (NaN if a training is not
        counted in epochs).

    Raises:
        UserError: a file cannot be read or lacks parameters or iterations.
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
                f"{path}: parameters or iterations are missing ({error!r}). Train again."
            ) from error
        rows.append((path.parent.parent.name, parameters, iterations, epochs))
    return pd.DataFrame(rows, columns=["method", "parameters", "iterations", "epochs"])
