"""Figure 1: localisation panels of all methods, and an example of the best one."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vertseg.core.errors import UserError
from vertseg.figures.example import Rectangle, add_axes, draw_view, place_views
from vertseg.figures.localisation import axis_limits, draw_panel, localisation_lines
from vertseg.figures.slices import View
from vertseg.figures.style import INK, PAGE_WIDTH_INCH, STYLE, quality_colours, use_style

COLUMNS = 2
PANEL_INCH = 1.9
ROW_INCH = 2.25
KEY_INCH = 0.75
LEFT_INCH, RIGHT_INCH, TOP_INCH, BOTTOM_INCH = 0.5, 0.05, 0.5, 0.6
TITLE_CHARACTERS = 38


@dataclass(frozen=True)
class Choice:
    """The example: a fold's median scan by the best method.

    Attributes:
        method: key of the method with the highest mean multi-label Dice.
        fold: the first fold evaluated.
        scan: the fold's scan of median multi-label Dice (the lower one of two), of those whose
            reference shows a vertebra.
        multi_label_dice: multi-label Dice of that scan.
    """

    method: str
    fold: int
    scan: str
    multi_label_dice: float


def choose_example(scans: pd.DataFrame) -> Choice:
    """Choose method and scan of the example by rule, not by eye.

    Args:
        scans: rows of the evaluation's tables of scans, all methods and folds.

    Raises:
        UserError: there are no rows, or no reference of the fold shows a vertebra.
    """
    if scans.empty:
        raise UserError("No scan was evaluated: there is nothing to show.")
    method = scans.groupby("method")["multi_label_dice"].mean().idxmax()
    fold = int(scans["fold"].min())
    shown = scans["multi_label_dice_native_reference_labels"].notna()
    own = scans[(scans["method"] == method) & (scans["fold"] == fold) & shown]
    if own.empty:
        raise UserError(
            f"No scan of fold {fold} has a labelled vertebra: there is no example to show. Name "
            "another fold first in folds.run."
        )
    ranked = own.sort_values(["multi_label_dice", "scan"], ignore_index=True)
    median = ranked.iloc[(len(ranked) - 1) // 2]
    return Choice(str(method), fold, str(median["scan"]), float(median["multi_label_dice"]))


def draw_figure1(
    labels: pd.DataFrame,
    scans: pd.DataFrame,
    titles: Mapping[str, str],
    example: Choice,
    views: tuple[View, View],
) -> Figure:
    """Draw Figure 1.

    Args:
        labels: rows of the evaluation's tables of labels, one fold, all methods.
        scans: rows of its tables of scans, the same fold and methods.
        titles: the methods' names by key, in order.
        example: method and scan of the views.
        views: sagittal and coronal slice.
    """
    use_style()
    rows = max(-(-len(titles) // COLUMNS), 2)
    height = BOTTOM_INCH + (rows - 1) * ROW_INCH + PANEL_INCH + TOP_INCH
    figure = plt.figure(figsize=(PAGE_WIDTH_INCH, height))
    colours = ScalarMappable(Normalize(0, 1), quality_colours())
    _draw_panels(figure, labels, scans, titles, colours)
    left = LEFT_INCH + COLUMNS * PANEL_INCH + 0.55
    room = (left, BOTTOM_INCH, PAGE_WIDTH_INCH - left - RIGHT_INCH, height - BOTTOM_INCH - TOP_INCH)
    free_cell = _cell(rows * COLUMNS - 1, height)
    if rows * COLUMNS > len(titles):
        _draw_key(figure, free_cell, colours)
    else:
        _draw_key(figure, (left, BOTTOM_INCH, room[2], KEY_INCH), colours)
        room = (left, room[1] + KEY_INCH + 0.3, room[2], room[3] - KEY_INCH - 0.3)
    _draw_example(figure, room, views, titles[example.method], example)
    return figure


def _cell(index: int, height: float) -> Rectangle:
    row, column = divmod(index, COLUMNS)
    bottom = height - TOP_INCH - PANEL_INCH - row * ROW_INCH
    return LEFT_INCH + column * (PANEL_INCH + 0.25), bottom, PANEL_INCH, PANEL_INCH


def _draw_panels(
    figure: Figure,
    labels: pd.DataFrame,
    scans: pd.DataFrame,
    titles: Mapping[str, str],
    colours: ScalarMappable,
) -> None:
    lines = {key: localisation_lines(labels[labels["method"] == key]) for key in titles}
    limits = axis_limits(list(lines.values()))
    for index, (key, title) in enumerate(titles.items()):
        own = scans[scans["method"] == key].set_index("scan")
        axes = add_axes(figure, _cell(index, figure.get_figheight()))
        draw_panel(axes, lines[key], own["multi_label_dice"], colours, limits)
        caption = f"{title}, {len(own)}\N{NO-BREAK SPACE}scans"
        axes.set_title(textwrap.fill(caption, TITLE_CHARACTERS), loc="left", parse_math=False)
        if index % COLUMNS == 0:
            axes.set_ylabel("predicted label")
        else:
            axes.set_yticklabels([])
        if index + COLUMNS >= len(titles):
            axes.set_xlabel("reference label at that height")
        else:
            axes.set_xticklabels([])


def _draw_key(figure: Figure, place: Rectangle, colours: ScalarMappable) -> None:
    """Draw the colour bar and the guide lines' legend at the bottom of a place."""
    left, bottom, width, _ = place
    # The first and the last number stick out by half.
    bar_axes = add_axes(figure, (left + 0.1, bottom + 0.1, width - 0.2, 0.09))
    bar = figure.colorbar(colours, cax=bar_axes, orientation="horizontal")
    bar.set_label("multi-label Dice of the scan")
    bar.outline.set_visible(False)
    guides = [
        Line2D([], [], color=INK, linewidth=0.6, linestyle="-", label="right label"),
        Line2D([], [], color=INK, linewidth=0.6, linestyle=(0, (1, 1.5)), label="one label off"),
    ]
    bar_axes.legend(
        handles=guides, loc="lower center", bbox_to_anchor=(0.5, 1.2), ncols=2, borderaxespad=0.3
    )


def _draw_example(
    figure: Figure, room: Rectangle, views: tuple[View, View], title: str, example: Choice
) -> None:
    places = place_views(views, room)
    for place, view in zip(places, views, strict=True):
        draw_view(add_axes(figure, place), view)
    figure.text(
        room[0] / figure.get_figwidth(),
        1 - (TOP_INCH - 0.05) / figure.get_figheight(),
        f"{title}\nmedian scan: Dice {example.multi_label_dice:.2f}\n{example.scan}",
        fontsize=STYLE["axes.titlesize"],
        parse_math=False,
        verticalalignment="bottom",
    )
