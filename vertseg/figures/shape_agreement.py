"""Bland-Altman figure of the spine's measured shape."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vertseg.anatomy.palette import OKABE_ITO
from vertseg.evaluation.shape import QUANTITIES, shape_agreement
from vertseg.figures.style import FAINT, INK, PAGE_WIDTH_INCH, use_style

HEIGHT_INCH = 4.4
_PANELS = tuple(QUANTITIES)[:6]


def draw_shape_agreement(table: pd.DataFrame, title: str) -> Figure:
    """Draw a panel for each quantity: the difference over the true value, with bias and limits.

    Args:
        table: rows of `evaluation.shape.compare_shape`.
        title: name of the measured masks.
    """
    use_style()
    figure, grid = plt.subplots(2, 3, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained")
    limits = shape_agreement(table).set_index("quantity")
    for axes, quantity in zip(grid.flat, _PANELS, strict=True):
        part = table[table["quantity"] == quantity]
        row = limits.loc[QUANTITIES[quantity]]
        axes.plot(
            part["true"], part["measured"] - part["true"], "o", color=OKABE_ITO[5],
            markersize=2.4, markeredgewidth=0, alpha=0.6,
        )  # fmt: skip
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
        for value, style in (("upper_limit", "--"), ("bias", "-"), ("lower_limit", "--")):
            axes.axhline(row[value], color=INK, linewidth=0.8, linestyle=style)
        unit = QUANTITIES[quantity].rsplit(" ", 1)[1]
        name = QUANTITIES[quantity]
        axes.set_title(
            f"{name[0].upper()}{name[1:]}\n{row['values']:.0f} values, {row['scans']:.0f} scans\n"
            f"bias {row['bias']:+.1f}, limits {row['lower_limit']:+.1f} to "
            f"{row['upper_limit']:+.1f}",
            loc="left",
        )
        axes.set(xlabel=f"true, {unit}", ylabel=f"measured - true, {unit}")
    figure.suptitle(title, x=0.01, ha="left", fontsize=8, parse_math=False)
    return figure
