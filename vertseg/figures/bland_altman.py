"""Bland-Altman figure of measured against true values."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vertseg.anatomy.palette import OKABE_ITO
from vertseg.evaluation.screening import QUANTITIES, REGIONS, agreement, differences
from vertseg.figures.style import FAINT, INK, PAGE_WIDTH_INCH, use_style

HEIGHT_INCH = 4.6
COLOURS = dict(zip(REGIONS.values(), (OKABE_ITO[5], OKABE_ITO[0], OKABE_ITO[2]), strict=True))


def draw_bland_altman(table: pd.DataFrame, title: str) -> Figure:
    """Draw a panel for each quantity: the difference over the true value, with bias and limits.

    The horizontal axis is the true value, which is known here, in place of the mean of both.

    Args:
        table: rows of `evaluation.screening.compare_scan`.
        title: name of the measured masks.
    """
    use_style()
    figure, grid = plt.subplots(2, 2, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained")
    limits = agreement(table)
    limits = limits[limits["region"] == "all"].set_index("quantity")
    for axes, (field, quantity) in zip(grid.flat, QUANTITIES.items(), strict=True):
        _draw_panel(axes, differences(table, field), limits.T[quantity], quantity)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(COLOURS))
    figure.suptitle(title, x=0.01, ha="left", fontsize=8, parse_math=False)
    return figure


def _draw_panel(axes: Axes, pairs: pd.DataFrame, limits: pd.Series, quantity: str) -> None:
    for region, colour in COLOURS.items():
        part = pairs[pairs["region"] == region]
        axes.plot(
            part["true"], part["difference"], "o", color=colour, label=region,
            markersize=2.4, markeredgewidth=0, alpha=0.6,
        )  # fmt: skip
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
    unit = "HU" if "HU" in quantity else "mm"
    for value, style in (("upper_limit", "--"), ("bias", "-"), ("lower_limit", "--")):
        axes.axhline(limits[value], color=INK, linewidth=0.8, linestyle=style)
    text = (
        f"{limits['vertebrae']:.0f} vertebrae, {limits['scans']:.0f} scans\n"
        f"bias {limits['bias']:+.2f} {unit}, "
        f"limits {limits['lower_limit']:+.1f} to {limits['upper_limit']:+.1f} {unit}"
    )
    axes.set_title(f"{quantity[0].upper()}{quantity[1:]}\n{text}", loc="left")
    axes.set(xlabel=f"true, {unit}", ylabel=f"measured - true, {unit}")
