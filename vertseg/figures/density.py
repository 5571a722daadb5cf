"""Bland-Altman figure of bone density, uncalibrated and calibrated."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vertseg.anatomy.palette import OKABE_ITO
from vertseg.figures.style import FAINT, INK, PAGE_WIDTH_INCH, use_style

METHODS = {
    "uncalibrated": "as at 120 kV",
    "calibrated": "own tissues",
    "calibrated_kv": "own tissues, tube voltage known",
}
"""Title by column of measured density."""

HEIGHT_INCH = 2.6


def draw_density_agreement(table: pd.DataFrame, title: str) -> Figure:
    """Draw a panel for each method: measured minus true over true density, by tube voltage.

    Args:
        table: columns kv, true, and those of `METHODS`, in mg/cc.
        title: what is compared.
    """
    use_style()
    figure, grid = plt.subplots(
        1, 3, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), sharey=True, layout="constrained"
    )
    voltages = sorted(table["kv"].unique())
    for axes, (method, name) in zip(grid, METHODS.items(), strict=True):
        difference = table[method] - table["true"]
        for voltage, colour in zip(voltages, (OKABE_ITO[i] for i in (5, 0, 2, 6)), strict=False):
            part = table["kv"] == voltage
            axes.plot(
                table["true"][part], difference[part], "o", color=colour, markersize=2.8,
                markeredgewidth=0, alpha=0.7, label=f"{voltage:.0f} kV",
            )  # fmt: skip
        bias, reach = difference.mean(), 1.96 * difference.std()
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
        for value, style in ((bias + reach, "--"), (bias, "-"), (bias - reach, "--")):
            axes.axhline(value, color=INK, linewidth=0.8, linestyle=style)
        axes.set_title(
            f"{name}\nbias {bias:+.1f}, limits {bias - reach:+.1f} to {bias + reach:+.1f}",
            loc="left",
        )
        axes.set(xlabel="true, mg/cc")
    grid[0].set(ylabel="measured - true, mg/cc")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=8)
    return figure
