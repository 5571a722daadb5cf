"""Localisation panels: predicted labels along the spine."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.labels import IDS, NAMES, RANK
from vertseg.figures.style import FAINT, INK

SPREAD = 0.3
"""Largest offset of a scan's line, in labels, so that coinciding lines stay visible."""

REGION_BORDERS = (6.5, 18.5)
"""Axis positions between C7 and T1 and between T12 and L1."""


def axis_position(label: int) -> float:
    """Position of a vertebra on the figure's axes: C1 at 0, L1 at 19, T13 half-way to it.

    T13 is too rare to have a step of its own, which would bend every other scan's diagonal.
    """
    if label == IDS["T13"]:
        return RANK[label] - 0.5
    return RANK[label] - (RANK[label] > RANK[IDS["T13"]])


def position_along_spine(point: np.ndarray, reference: Centres) -> float:
    """Position of a point on the anatomical axis, measured along the reference's spine.

    The point is projected onto the polyline through the reference centres, whose end segments
    extend beyond the first and the last vertebra; positions are interpolated in mm.

    Args:
        point: (3,) in mm.
        reference: points in mm by label; at least one.

    Returns:
        Position in units of `axis_position`; for a single vertebra, the vertebra's own.
    """
    labels = sorted(reference, key=RANK.__getitem__)
    positions = np.array([axis_position(label) for label in labels])
    if len(labels) == 1:
        return float(positions[0])
    corners = np.array([reference[label] for label in labels])
    starts, ways = corners[:-1], np.diff(corners, axis=0)
    shares = ((point - starts) * ways).sum(axis=1) / (ways**2).sum(axis=1)
    lowest, highest = np.zeros(len(ways)), np.ones(len(ways))
    lowest[0], highest[-1] = -np.inf, np.inf
    shares = np.clip(shares, lowest, highest)
    distances = np.linalg.norm(starts + shares[:, None] * ways - point, axis=1)
    nearest = int(distances.argmin())
    step = positions[nearest + 1] - positions[nearest]
    return float(positions[nearest] + shares[nearest] * step)


def localisation_lines(labels: pd.DataFrame) -> dict[str, np.ndarray]:
    """A line for each scan: position along the reference's spine and predicted label.

    Args:
        labels: rows of one method from the evaluation's table of labels.

    Returns:
        Points (n, 2) by scan, from head to foot; scans without reference or without prediction
        are left out.
    """
    lines = {}
    for scan, rows in labels.groupby("scan", sort=True):
        reference, predicted = _centres(rows, "reference"), _centres(rows, "predicted")
        if reference and predicted:
            points = [
                (position_along_spine(point, reference), axis_position(label))
                for label, point in predicted.items()
            ]
            lines[str(scan)] = np.array(sorted(points))
    return lines


def axis_limits(all_lines: Sequence[dict[str, np.ndarray]]) -> tuple[float, float]:
    """Limits that hold every line of every panel."""
    points = [line for lines in all_lines for line in lines.values()]
    if not points:
        return -0.8, axis_position(IDS["L5"]) + 0.8
    values = np.concatenate(points)
    return float(values.min()) - 0.8, float(values.max()) + 0.8


def draw_panel(
    axes: Axes,
    lines: dict[str, np.ndarray],
    quality: pd.Series,
    colours: ScalarMappable,
    limits: tuple[float, float],
) -> None:
    """Draw one method's panel.

    Args:
        axes: axes of the panel.
        lines: lines by scan, from `localisation_lines`.
        quality: multi-label Dice by scan; the worst scans are drawn on top.
        colours: colours by Dice.
        limits: limits of both axes.
    """
    _draw_guides(axes, limits)
    scans = sorted(lines, key=lambda scan: (-quality[scan], scan))
    offsets = np.linspace(SPREAD, -SPREAD, len(scans)) if len(scans) > 1 else np.zeros(len(scans))
    moved = [lines[scan] + [0, offset] for scan, offset in zip(scans, offsets, strict=True)]
    rgba = colours.to_rgba(quality.loc[scans].to_numpy(dtype=float))
    axes.add_collection(LineCollection(moved, colors=rgba, linewidths=0.7, zorder=3))
    for points, colour in zip(moved, rgba, strict=True):
        axes.plot(*points.T, ".", color=colour, markersize=1.8, markeredgewidth=0, zorder=3)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    positions = tick_positions(limits)
    names = [NAMES[_label_at(position)] for position in positions]
    axes.set_xticks(positions, names)
    axes.set_yticks(positions, names)


def tick_positions(limits: tuple[float, float]) -> list[int]:
    """Positions of the vertebrae to name: all of a short range, landmarks of a long one."""
    low, high = int(np.ceil(max(limits[0], 0))), int(np.floor(min(limits[1], 24)))
    if high - low < 10:
        return list(range(low, high + 1))
    landmarks = [IDS[name] for name in ("C1", "C4", "T1", "T4", "T8", "T12", "L4")]
    return [int(p) for p in map(axis_position, landmarks) if low <= p <= high]


def _draw_guides(axes: Axes, limits: tuple[float, float]) -> None:
    for border in REGION_BORDERS:
        if limits[0] < border < limits[1]:
            axes.axhline(border, color=FAINT, linewidth=0.4, linestyle=(0, (4, 3)), zorder=1)
            axes.axvline(border, color=FAINT, linewidth=0.4, linestyle=(0, (4, 3)), zorder=1)
    for shift in (-1, 0, 1):
        style = "-" if shift == 0 else (0, (1, 1.5))
        axes.axline(
            (0, shift), slope=1, color=INK, linewidth=0.5, linestyle=style, alpha=0.6, zorder=2
        )


def _centres(rows: pd.DataFrame, prefix: str) -> Centres:
    points = rows[[f"{prefix}_{axis}_mm" for axis in "xyz"]].to_numpy(dtype=float)
    return {
        int(label): point
        for label, point in zip(rows["label"], points, strict=True)
        if np.isfinite(point).all()
    }


def _label_at(position: int) -> int:
    return next(label for label in NAMES if axis_position(label) == position)
