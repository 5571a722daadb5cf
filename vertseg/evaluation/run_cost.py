"""Time, memory and disk traffic of a run's steps, from Snakemake's benchmark files."""

from pathlib import Path

import pandas as pd

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files

COLUMNS = {
    "s": "seconds",
    "cpu_time": "cpu_seconds",
    "mean_load": "mean_load_percent",
    "max_rss": "peak_memory_mb",
    "io_in": "read_mb",
    "io_out": "written_mb",
}
"""Snakemake's columns and their names here; memory in MiB, of all processes of a job."""


def collect_benchmarks(folder: Path) -> pd.DataFrame:
    """All benchmark files below a folder as one table, the longest jobs first.

    Args:
        folder: {rule}.tsv, or {rule}/{job}.tsv for rules of several jobs.

    Returns:
        Columns rule, job (blank for rules of one job) and the values of `COLUMNS`; blank where
        Snakemake measured nothing, as for jobs that end before its first measurement.

    Raises:
        UserError: a file is not a benchmark table.
    """
    rows = []
    files = (place / name for place, names in walk_files(folder) for name in names)
    for path in sorted(file for file in files if file.suffix == ".tsv"):
        rule, *job = path.relative_to(folder).with_suffix("").parts
        try:
            table = pd.read_csv(path, sep="\t", na_values="-")
            measured = table[list(COLUMNS)].rename(columns=COLUMNS).mean().to_dict()
        except (KeyError, TypeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise UserError(f"{path}: not a benchmark table ({error}). Remove it.") from error
        rows.append({"rule": rule, "job": "/".join(job), **measured})
    table = pd.DataFrame(rows, columns=["rule", "job", *COLUMNS.values()])
    return table.sort_values("seconds", ascending=False, ignore_index=True)
