"""Densities of VerSe'19 scans compared with published ones.

The table is `verse19fem_AppendixA.csv` of https://github.com/Bonelab/spineFE-benchmark: phantomless
density by scan, of the levels that it names, and strength by level from finite elements.
"""

import os
import re

import pandas as pd
from scipy.stats import spearmanr

from vertseg.core.errors import UserError

_DENSITY = "Phantomless Calibration vBMD [mg/cc]"
_LEVELS = "BMD_assessment"
_STRENGTH = re.compile(r"R\.Force 0\.2% ([TL]\d+) \[kN\]")
_NUMBER = re.compile(r"verse0*(\d+)")


def read_published(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published densities by scan, and strengths by scan and level.

    Args:
        path: `verse19fem_AppendixA.csv`.

    Returns:
        Columns number, levels (names with spaces between), published_mg_cc; and columns number,
        name, strength_kn.

    Raises:
        UserError: it is unreadable or another table.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error
    if not {"verse_ID", _LEVELS, _DENSITY} <= set(table.columns):
        raise UserError(f"{path}: not verse19fem_AppendixA.csv of Bonelab/spineFE-benchmark.")
    table = table.dropna(subset=["verse_ID", _DENSITY])
    number = table["verse_ID"].astype(int)
    scans = pd.DataFrame(
        {
            "number": number,
            "levels": table[_LEVELS].str.replace(",", " ").str.split().str.join(" "),
            "published_mg_cc": table[_DENSITY],
        }
    )
    strengths = [
        pd.DataFrame({"number": number, "name": found[1], "strength_kn": table[column]})
        for column in table.columns
        if (found := _STRENGTH.fullmatch(column))
    ]
    levels = pd.concat(strengths, ignore_index=True).dropna()
    # Models that failed have a strength of nearly zero.
    return scans.reset_index(drop=True), levels[levels["strength_kn"] > 0.01]


def scan_number(scan: str) -> int | None:
    """VerSe's number in a scan's name, such as 14 of "sub-verse014"; None without one."""
    found = _NUMBER.search(scan)
    return int(found[1]) if found else None


def compare_densities(vertebrae: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Mean measured density of the levels that were assessed, beside the published one.

    Args:
        vertebrae: columns scan, name, bmd_mg_cc.
        published: scans of `read_published`.

    Returns:
        Columns scan, number, levels, measured_levels, measured_mg_cc, published_mg_cc; scans that
        are not published, or without a measured level, are left out.
    """
    rows = []
    for scan, part in vertebrae.dropna(subset=["bmd_mg_cc"]).groupby("scan"):
        match = published[published["number"] == scan_number(str(scan))]
        if match.empty:
            continue
        one = match.iloc[0]
        chosen = part[part["name"].isin(one["levels"].split())]
        if len(chosen):
            rows.append(
                {
                    "scan": scan,
                    "number": one["number"],
                    "levels": one["levels"],
                    "measured_levels": " ".join(chosen["name"]),
                    "measured_mg_cc": chosen["bmd_mg_cc"].mean(),
                    "published_mg_cc": one["published_mg_cc"],
                }
            )
    columns = ["scan", "number", "levels", "measured_levels", "measured_mg_cc", "published_mg_cc"]
    return pd.DataFrame(rows, columns=columns)


def compare_strengths(
    vertebrae: pd.DataFrame, strengths: pd.DataFrame
) -> tuple[pd.DataFrame, float]:
    """Density of each level beside its published strength, and their rank correlation.

    Args:
        vertebrae: columns scan, name, bmd_mg_cc.
        strengths: levels of `read_published`.

    Returns:
        Columns scan, name, bmd_mg_cc, strength_kn; Spearman's correlation, not-a-number for fewer
        than three levels.
    """
    numbered = vertebrae.assign(number=vertebrae["scan"].map(scan_number).astype(float))
    both = numbered.merge(strengths, on=["number", "name"]).dropna(subset=["bmd_mg_cc"])
    both = both[["scan", "name", "bmd_mg_cc", "strength_kn"]]
    if len(both) < 3:
        return both, float("nan")
    return both, float(spearmanr(both["bmd_mg_cc"], both["strength_kn"]).statistic)
