"""Learning curves of all methods and folds."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vertseg.anatomy.palette import OKABE_ITO
from vertseg.figures.style import INK, PAGE_WIDTH_INCH, use_style

ROW_INCH = 1.7
TITLE_CHARACTERS = 18
SMOOTHING_SHARE = 1 / 40
"""Time constant of the exponential mean, as a share of the run's length."""

Log = pd.DataFrame
"""Columns iteration, loss, validation_loss, validation_multi_label_dice; blank if not measured."""


def smooth(loss: Sequence[float]) -> np.ndarray:
    """Exponential mean of a loss curve, unbiased at its start, of the curve's length."""
    values = pd.Series(loss, dtype=float)
    span = max(len(values) * SMOOTHING_SHARE, 1.0)
    return values.ewm(com=span, adjust=True).mean().to_numpy()


def draw_learning_curves(
    logs: Mapping[str, Mapping[int, Log]], titles: Mapping[str, str]
) -> Figure:
    """Draw loss and validation Dice of each method, a colour for each fold.

    Args:
        logs: training logs by method and fold.
        titles: the methods' names by key, in order; a method without a log has no column.
    """
    use_style()
    shown = [key for key in titles if key in logs]
    figure, grid = plt.subplots(
        2, len(shown), sharex="col", sharey="row", squeeze=False,
        figsize=(PAGE_WIDTH_INCH, 2 * ROW_INCH + 0.4), layout="constrained",
    )  # fmt: skip
    for (loss_axes, dice_axes), key in zip(grid.T, shown, strict=True):
        for fold, log in sorted(logs[key].items()):
            colour = OKABE_ITO[fold % len(OKABE_ITO)]
            _draw_loss(loss_axes, log, colour)
            _draw_dice(dice_axes, log, colour)
        loss_axes.set_title(
            textwrap.fill(titles[key], TITLE_CHARACTERS), loc="left", parse_math=False
        )
        dice_axes.set_xlabel("iteration")
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("validation multi-label Dice")
    grid[0, 0].set_yscale("log")
    grid[1, 0].set_ylim(0, 1)
    _draw_legend(figure, sorted({fold for key in shown for fold in logs[key]}))
    return figure


def _draw_loss(axes: Axes, log: Log, colour: str) -> None:
    axes.plot(log["iteration"], log["loss"], color=colour, alpha=0.18, linewidth=0.4)
    axes.plot(log["iteration"], smooth(log["loss"].tolist()), color=colour)
    measured = log.dropna(subset="validation_loss")
    axes.plot(measured["iteration"], measured["validation_loss"], ":o", color=colour, markersize=2)


def _draw_dice(axes: Axes, log: Log, colour: str) -> None:
    measured = log.dropna(subset="validation_multi_label_dice")
    axes.plot(
        measured["iteration"], measured["validation_multi_label_dice"], ":o", color=colour,
        markersize=2,
    )  # fmt: skip


def _draw_legend(figure: Figure, folds: list[int]) -> None:
    handles = [
        Line2D([], [], color=OKABE_ITO[fold % len(OKABE_ITO)], label=f"fold {fold}")
        for fold in folds
    ]
    handles += [
        Line2D([], [], color=INK, label="training (smoothed)"),
        Line2D([], [], color=INK, linestyle=":", marker="o", markersize=2, label="validation"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
