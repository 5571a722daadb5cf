"""Figure of VerSe'19 densities against published densities and strengths."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vertseg.anatomy.palette import OKABE_ITO
from vertseg.figures.style import FAINT, INK, PAGE_WIDTH_INCH, use_style

HEIGHT_INCH = 2.7


def draw_published(densities: pd.DataFrame, strengths: pd.DataFrame, correlation: float) -> Figure:
    """Bland-Altman plot of densities over the mean of both, and strength over density by level.

    Args:
        densities: rows of `evaluation.published.compare_densities`.
        strengths: rows of `evaluation.published.compare_strengths`.
        correlation: rank correlation of the latter.
    """
    use_style()
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained"
    )
    style = {"color": OKABE_ITO[5], "markersize": 3, "markeredgewidth": 0, "alpha": 0.7}
    ours, theirs = densities["measured_mg_cc"], densities["published_mg_cc"]
    difference = ours - theirs
    left.plot((ours + theirs) / 2, difference, "o", **style)
    left.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
    bias, reach = difference.mean(), 1.96 * difference.std()
    for value, line in ((bias + reach, "--"), (bias, "-"), (bias - reach, "--")):
        if value == value:
            left.axhline(value, color=INK, linewidth=0.8, linestyle=line)
    left.set_title(
        f"{len(densities)} scans\nbias {bias:+.1f}, limits {bias - reach:+.1f} to "
        f"{bias + reach:+.1f} mg/cc",
        loc="left",
    )
    left.set(xlabel="mean of measured and published, mg/cc", ylabel="measured - published, mg/cc")
    right.plot(strengths["bmd_mg_cc"], strengths["strength_kn"], "o", **style)
    right.set_title(f"{len(strengths)} levels\nrank correlation {correlation:.2f}", loc="left")
    right.set(xlabel="measured density, mg/cc", ylabel="published strength, kN")
    return figure
