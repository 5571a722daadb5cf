"""Figures of a cohort: HU and bone density by level, by age and sex, and their change."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import OKABE_ITO
from vertseg.figures.style import INK, PAGE_WIDTH_INCH, use_style

MEASURES = {
    "trabecular_hu": "trabecular HU",
    "bmd_mg_cc": "bone density, mg/cc",
}
SPINE_MEASURES = {
    "t12_l3_hu": "median HU of T12 to L3",
    "t12_l3_bmd_mg_cc": "median density of T12 to L3, mg/cc",
}
HEIGHT_INCH = 2.7
_SEXES = {"f": "female", "female": "female", "w": "female", "m": "male", "male": "male"}
_COLOURS = {"female": OKABE_ITO[6], "male": OKABE_ITO[5], "": INK}


def draw_by_level(table: pd.DataFrame) -> Figure | None:
    """Box plots of HU and density by level; outliers in their scan are left out.

    None without any vertebra.

    Args:
        table: rows of `predict.cohort.cohort_table`.
    """
    part = table[~table["outlier"].astype(bool)]
    present = set(part["name"].dropna())
    levels = [NAMES[label] for label in CRANIOCAUDAL if NAMES[label] in present]
    if not levels:
        return None
    use_style()
    figure, grid = plt.subplots(
        2, 1, figsize=(PAGE_WIDTH_INCH, 2 * HEIGHT_INCH), sharex=True, layout="constrained"
    )
    for axes, (measure, title) in zip(grid, MEASURES.items(), strict=True):
        values = [
            part.loc[part["name"] == level, measure].dropna().astype(float).to_numpy()
            for level in levels
        ]
        places = np.arange(len(levels))
        axes.boxplot(
            values, positions=places, widths=0.6, showfliers=False,
            medianprops={"color": INK}, boxprops={"color": OKABE_ITO[5]},
            whiskerprops={"color": OKABE_ITO[5]}, capprops={"color": OKABE_ITO[5]},
        )  # fmt: skip
        for place, ordinates in zip(places, values, strict=True):
            axes.plot(
                np.full(len(ordinates), place), ordinates, "o", color=OKABE_ITO[5],
                markersize=1.8, markeredgewidth=0, alpha=0.4,
            )  # fmt: skip
        axes.set(ylabel=title)
        axes.set_xticks(places, levels)
    return figure


def draw_by_age(table: pd.DataFrame) -> Figure | None:
    """The spine's HU and density over age, by sex where given; None without a column `age`.

    Args:
        table: a cohort with the user's columns, `age` and perhaps `sex` (F, M or words).
    """
    if "age" not in table.columns:
        return None
    use_style()
    scans = table.drop_duplicates("scan")
    age = pd.to_numeric(scans["age"], errors="coerce")
    sex = pd.Series("", index=scans.index)
    if "sex" in scans.columns:
        sex = scans["sex"].astype(str).str.strip().str.lower().map(_SEXES).fillna("")
    figure, grid = plt.subplots(1, 2, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained")
    for axes, (measure, title) in zip(grid, SPINE_MEASURES.items(), strict=True):
        values = scans[measure].astype(float)
        for name, colour in _COLOURS.items():
            chosen = (sex == name) & age.notna() & values.notna()
            if chosen.any():
                _draw_trend(axes, age[chosen], values[chosen], colour, name or "other or none")
        axes.set(xlabel="age, years", ylabel=title)
        axes.legend()
    return figure


def draw_changes(changes: dict[str, pd.DataFrame]) -> Figure | None:
    """Each participant's first and last value over the years between; None without a pair.

    Args:
        changes: rows of `predict.cohort.changes` by measure.
    """
    if all(part.empty for part in changes.values()):
        return None
    use_style()
    figure, grid = plt.subplots(
        1, len(changes), figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained", squeeze=False
    )
    for axes, (measure, part) in zip(grid[0], changes.items(), strict=True):
        for row in part.itertuples():
            axes.plot(
                [0, row.years], [row.before, row.after], "-o", color=OKABE_ITO[5],
                markersize=2.5, linewidth=0.8, alpha=0.7,
            )  # fmt: skip
        axes.set(xlabel="years after the first scan", ylabel=SPINE_MEASURES[measure])
    return figure


def _draw_trend(axes: Axes, age: pd.Series, values: pd.Series, colour: str, name: str) -> None:
    axes.plot(age, values, "o", color=colour, markersize=2.8, markeredgewidth=0, label=name)
    if len(values) > 2 and np.ptp(age) > 0:
        slope, intercept = np.polyfit(age, values, 1)
        ends = np.array([age.min(), age.max()])
        axes.plot(ends, slope * ends + intercept, color=colour, linewidth=0.8)
