"""One tidy table of many scans' results, joined with the user's columns about the participants."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.logs import logger
from vertseg.dataset.layout import RESULT_SUFFIX
from vertseg.predict.earlier import outcome_files
from vertseg.predict.origins import unlike_origins
from vertseg.predict.result import Result, read_result
from vertseg.screening import VertebraMeasures

KEYS = ("scan", "participant_id")
"""Columns of a table of participants by which it is joined: a scan's name before its subject's."""

DATES = ("date", "acq_time", "session_date")
"""Columns of a table of participants with the date of a scan; the first that is there counts."""

VERTEBRA_COLUMNS = tuple(one.name for one in fields(VertebraMeasures) if one.name != "suppressed")
"""Columns of a vertebra's measures."""

SPINE_COLUMNS = (
    "t12_l3_hu",
    "t12_l3_bmd_mg_cc",
    "contrast_agent",
    "highest_genant_grade",
    "cobb_deg",
    "thoracic_kyphosis_deg",
    "lumbar_lordosis_deg",
)
"""Columns of the spine as a whole, repeated in each row of a scan."""

_SUBJECT = re.compile(r"sub-[^_]+")
_SEGMENT = ("slip_mm", "slip_percent", "meyerding_grade", "disc_height_middle_mm")


def result_files(paths: Sequence[Path]) -> list[Path]:
    """Results and failures among paths of files and folders, sorted, folders searched below.

    Of a corrected scan, the network's own result does not count.

    Raises:
        UserError: a path does not exist, or there is no result.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder. Give folders of vertseg predict.")
        found |= set(outcome_files(path, deep=True)) if path.is_dir() else {path}
    if not found:
        raise UserError(
            f"{', '.join(map(str, paths))}: no *{RESULT_SUFFIX}. Give the --output folder of "
            "vertseg predict."
        )
    return sorted(found)


def cohort_table(results: Iterable[Result]) -> pd.DataFrame:
    """A row for each vertebra of each scan, and one for scans without any.

    Columns: scan, participant_id (the `sub-` part of the scan's name, or the name), the verdict on
    the scan, the version and the model that made it, `VERTEBRA_COLUMNS` and confidences, slip and
    disc to the vertebra below, `outlier` (disagrees with its neighbours), and `SPINE_COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    for result in results:
        summary, shape = result.summary, result.shape
        subject = _SUBJECT.match(result.scan)
        base = {
            "scan": result.scan,
            "participant_id": subject[0] if subject else result.scan,
            "verdict": result.verdict,
            "vertseg_version": result.version,
            "vertseg_model": result.model.get("name"),
        }
        of_scan = {**summary, **shape, **result.calibration}
        spine = {field: of_scan.get(field) for field in SPINE_COLUMNS}
        below = {one["upper"]: one for one in shape.get("segments", ())}
        for one in result.vertebrae or [{}]:
            measures = {key: value for key, value in one.items() if key != "suppressed"}
            segment = below.get(one.get("name"), {})
            rows.append(
                base
                | dict.fromkeys(VERTEBRA_COLUMNS)
                | measures
                | {field: segment.get(field) for field in _SEGMENT}
                | {"outlier": one.get("name") in summary.get("outlier_levels", ())}
                | spine
            )
    return pd.DataFrame(rows)


def read_participants(path: Path) -> pd.DataFrame:
    """The user's table of participants or scans: TSV, or CSV by its name.

    Raises:
        UserError: it is unreadable, has neither a column `scan` nor `participant_id`, names one of
            them twice, or has a date or an age that is none.
    """
    try:
        table = pd.read_csv(
            path, sep="," if path.suffix == ".csv" else "\t",
            dtype=dict.fromkeys((*KEYS, *DATES), str), na_values=["n/a"],
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error
    key = _key(table, path)
    repeated = table[key][table[key].duplicated()].tolist()
    if repeated:
        raise UserError(
            f"{path}: the column {key} names {repeated[0]} twice. Give each {key} one row; for "
            "several scans of a participant, name the scans in a column `scan`."
        )
    if date := date_column(table):
        _refuse_unread(table[date], _dates(table[date]), path, "dates as 2020-03-31")
    if "age" in table.columns:
        years = pd.to_numeric(table["age"], errors="coerce")
        _refuse_unread(table["age"], years, path, "years as numbers")
    return table


def joined(table: pd.DataFrame, participants: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table of a cohort with the participants' columns behind its own.

    Args:
        table: rows of `cohort_table`.
        participants: rows of `read_participants`.
        path: their file, for messages.

    Raises:
        UserError: no scan has a row in the file, or a column has the name of a measure.
    """
    key = _key(participants, path)
    clash = [name for name in participants.columns if name in table.columns and name not in KEYS]
    if clash:
        raise UserError(f"{path}: the column {clash[0]} has the name of a measure. Rename it.")
    if not table[key].isin(participants[key]).any():
        raise UserError(
            f"{path}: names none of the scans in its column {key}, such as {table[key].iloc[0]!r}."
        )
    missing = table.loc[~table[key].isin(participants[key]), "scan"].unique()
    if len(missing):
        logger.warning(
            "%s: has no row for %d of %d scans, whose columns stay empty: %s.",
            path, len(missing), table["scan"].nunique(), ", ".join(missing),
        )  # fmt: skip
    both = table.merge(participants, on=key, how="left", suffixes=("_by_name", ""))
    if "participant_id_by_name" in both.columns:
        by_name = both.pop("participant_id_by_name")
        both["participant_id"] = both["participant_id"].fillna(by_name)
    return both


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, or as Parquet, as the name's end says.

    Raises:
        UserError: Parquet is asked for without pyarrow.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            try:
                table.to_parquet(temporary, engine="pyarrow", index=False)
            except ImportError as error:
                raise UserError(
                    f"{path}: Parquet needs pyarrow. Install vertseg[parquet], or use the CSV."
                ) from error
        else:
            table.to_csv(temporary, index=False, lineterminator="\n")


def changes(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Change of a measure of the spine between a participant's first and last dated scan.

    Args:
        table: a cohort with a column of `DATES`.
        measure: a column of `SPINE_COLUMNS`.

    Returns:
        Columns participant_id, first, last (dates), years, before, after, change; empty without
        dates or second scans.
    """
    columns = ["participant_id", "first", "last", "years", "before", "after", "change"]
    date = date_column(table)
    if date is None:
        return pd.DataFrame(columns=columns)
    scans = table.drop_duplicates("scan").dropna(subset=[measure])
    scans = scans.assign(when=_dates(scans[date])).dropna(subset="when")
    rows = []
    for subject, part in scans.sort_values("when").groupby("participant_id"):
        first, last = part.iloc[0], part.iloc[-1]
        if first["when"] < last["when"]:
            years = (last["when"] - first["when"]).days / 365.25
            change = last[measure] - first[measure]
            rows.append((subject, first["when"].date(), last["when"].date(), round(years, 2),
                         first[measure], last[measure], round(change, 2)))  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def date_column(table: pd.DataFrame) -> str | None:
    """The column with the scans' dates, if there is one."""
    return next((name for name in DATES if name in table.columns), None)


def read_cohort(paths: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """The table of all results below some paths, and the names of scans that failed.

    Results that were not made alike are told in a warning.

    Raises:
        UserError: see `result_files` and `read_result`; or two results have one scan's name.
    """
    outcomes = {path: read_result(path) for path in result_files(paths)}
    done: dict[str, Path] = {}
    for path, result in outcomes.items():
        if result.error is None and done.setdefault(result.scan, path) != path:
            raise UserError(
                f"{done[result.scan]}, {path}: two results have the name of one scan, "
                f"{result.scan}. Give one of them."
            )
    if unlike := unlike_origins(outcomes[path] for path in done.values()):
        logger.warning("Not all results were made alike. %s", " ".join(unlike))
    failed = {result.scan for result in outcomes.values() if result.error is not None}
    return cohort_table(outcomes[path] for path in done.values()), sorted(failed - done.keys())


def _dates(column: pd.Series) -> pd.Series:
    """Dates of ISO 8601 (2020, 2020-03, 2020-03-31, 20200331, with a time); others are missing.

    Days and months in another order could be taken for each other.
    """
    read = pd.to_datetime(column.str.strip(), format="ISO8601", errors="coerce", utc=True)
    return read.dt.tz_localize(None)


def _refuse_unread(column: pd.Series, read: pd.Series, path: Path, expected: str) -> None:
    """Refuse a user's column of which some values are not what they should be.

    Raises:
        UserError: a value could not be read.
    """
    if (unread := column[read.isna() & column.notna()]).size:
        raise UserError(
            f"{path}: the column {column.name} holds {str(unread.iloc[0])!r}. Write {expected}, "
            "and n/a where there is none."
        )


def _key(participants: pd.DataFrame, path: Path) -> str:
    key = next((name for name in KEYS if name in participants.columns), None)
    if key is None:
        raise UserError(f"{path}: has neither a column `scan` nor `participant_id`. Add one.")
    return key
