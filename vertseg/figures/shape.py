"""The spine's curves and slips, marked on the views of a preview."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes

from vertseg.anatomy.labels import IDS
from vertseg.figures.example import View
from vertseg.screening.shape import SpineShape

_PLACE = 0.05
"""Distance of a bracket from the view's left edge, in widths."""
_POINT = 6.0
_OUTLINE = [patheffects.withStroke(linewidth=1.6, foreground="black")]


def draw_shape(views: tuple[tuple[Axes, View], tuple[Axes, View]], shape: SpineShape) -> None:
    """Mark kyphosis, lordosis and graded slips on the sagittal view, Cobb's angle on the coronal.

    The views follow the spine, which straightens it: brackets state angles, they do not show them.

    Args:
        views: axes and slice of the sagittal and of the coronal view, as drawn.
        shape: the spine's shape.
    """
    (sagittal_axes, sagittal), (coronal_axes, coronal) = views
    for angle, ends, title in (
        (shape.thoracic_kyphosis_deg, ("T4", "T12"), "kyphosis"),
        (shape.lumbar_lordosis_deg, ("L1", "L5"), "lordosis"),
    ):
        if angle is not None:
            _bracket(sagittal_axes, sagittal, ends, f"{title} {angle:.0f}°")
    for segment in shape.segments:
        if segment.meyerding_grade and segment.slip_mm is not None:
            text = f"slip {segment.slip_mm:+.0f} mm".replace("-", "−")
            _at_disc(sagittal_axes, sagittal, (segment.upper, segment.lower), text)
    if shape.cobb_deg is not None:
        upper, lower = shape.cobb_levels
        _bracket(coronal_axes, coronal, (upper, lower), f"Cobb {shape.cobb_deg:.0f}°")


def _bracket(axes: Axes, view: View, ends: tuple[str, str], text: str) -> None:
    """A bracket at the left edge from the upper vertebra's top to the lower one's bottom."""
    upper, lower = (_reach_mm(view, name) for name in ends)
    if upper is None or lower is None:
        return
    width = view.extent[1]
    x, tick = _PLACE * width, 0.02 * width
    axes.plot(
        [x + tick, x, x, x + tick], [upper[1], upper[1], lower[0], lower[0]],
        color="white", linewidth=0.8, path_effects=_OUTLINE, scalex=False, scaley=False,
    )  # fmt: skip
    axes.text(
        x + tick, (upper[1] + lower[0]) / 2, text, rotation=90, color="white", fontsize=_POINT,
        horizontalalignment="left", verticalalignment="center", path_effects=_OUTLINE,
    )  # fmt: skip


def _at_disc(axes: Axes, view: View, ends: tuple[str, str], text: str) -> None:
    """A text at the right edge, between two neighbours."""
    upper, lower = (_reach_mm(view, name) for name in ends)
    if upper is None or lower is None:
        return
    axes.text(
        view.extent[1] * (1 - 0.02), (upper[0] + lower[1]) / 2, text, color="white",
        fontsize=_POINT, horizontalalignment="right", verticalalignment="center",
        path_effects=_OUTLINE,
    )  # fmt: skip


def _reach_mm(view: View, name: str) -> tuple[float, float] | None:
    """Lowest and highest place of a vertebra in a view; None if it is not in it."""
    rows = np.flatnonzero((view.predicted == IDS[name]).any(axis=1))
    if not len(rows):
        return None
    step = view.extent[3] / view.predicted.shape[0]
    return float(rows[0] * step), float((rows[-1] + 1) * step)
