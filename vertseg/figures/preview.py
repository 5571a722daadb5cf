"""Preview of a labelled scan: mid-spine sagittal and coronal slices with vertebra names."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import zoom

from vertseg.anatomy.labels import BACKGROUND
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.figures.example import (
    NAMES_INCH,
    View,
    add_axes,
    centre_line,
    curved_views,
    draw_view,
    place_views,
)
from vertseg.figures.shape import draw_shape
from vertseg.figures.style import INK, PAGE_WIDTH_INCH, save_figure, use_style
from vertseg.scans.volumes import Volume
from vertseg.screening.shape import SpineShape

DPI = 150
MARGIN_MM = (60.0, 50.0)
"""Margin around the vertebrae: at the sides, at front and back. The scan's whole height is shown,
so that missed vertebrae can be seen."""

COARSE_MM = 2.5
"""Approximate size of the voxels on which the spine's course is sought."""

FINEST_MM = 0.4
LONGEST_INCH = 6.5
NARROWEST_INCH = 3.6
CHARACTERS_INCH = 12
EDGE_INCH, TITLE_INCH, NOTICE_INCH = 0.1, 0.3, 0.22


def draw_preview(
    ct: Volume,
    mask: np.ndarray,
    path: str | os.PathLike[str],
    title: str,
    shape: SpineShape | None = None,
) -> None:
    """Draw the slices along the spine, or the scan's middle ones if no vertebra was found.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), VerSe's values.
        path: the PNG file; it appears whole or not at all.
        title: name of the scan.
        shape: curves and slips to mark, if any.
    """
    save_figure(preview_figure(ct, mask, title, shape), [path], dpi=DPI)


def preview_figure(
    ct: Volume, mask: np.ndarray, title: str, shape: SpineShape | None = None
) -> Figure:
    """The figure that `draw_preview` saves. Arguments as there."""
    use_style()
    found = bool(mask.any())
    views = preview_views(ct, mask) if found else middle_views(ct, mask)
    room = (EDGE_INCH, 0.0, PAGE_WIDTH_INCH - 2 * EDGE_INCH, LONGEST_INCH)
    places = place_views(views, room)
    lowest = min(bottom for _, bottom, _, _ in places)
    used = max(left + wide for left, _, wide, _ in places) + NAMES_INCH + EDGE_INCH
    width = max(used, NARROWEST_INCH)
    height = LONGEST_INCH - lowest + TITLE_INCH + NOTICE_INCH
    figure = Figure(figsize=(width, height))
    drawn = []
    for (left, bottom, wide, tall), view in zip(places, views, strict=True):
        axes = add_axes(figure, (left, bottom - lowest + NOTICE_INCH, wide, tall))
        draw_view(axes, view)
        drawn.append((axes, view))
    if shape is not None:
        draw_shape((drawn[0], drawn[1]), shape)
    note = "" if found else ": no vertebra found"
    room_for_title = int(width * CHARACTERS_INCH) - len(note)
    figure.text(
        EDGE_INCH / width, 1 - 0.08 / height, _shortened(title, room_for_title) + note,
        fontsize=9, color=INK, verticalalignment="top", parse_math=False,
    )  # fmt: skip
    figure.text(EDGE_INCH / width, 0.07 / height, RESEARCH_USE_ONLY, fontsize=6, color="#666666")
    return figure


def preview_views(ct: Volume, mask: np.ndarray) -> tuple[View, View]:
    """Sagittal and coronal slice along the spine, over the scan's whole height.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), not empty.
    """
    step = np.maximum(COARSE_MM // ct.spacing_mm, 1).astype(int)
    if not mask[:: step[0], :: step[1], :: step[2]].any():
        step = np.ones(3, int)
    coarse = mask[:: step[0], :: step[1], :: step[2]] != BACKGROUND
    box = []
    for axis, margin_mm in enumerate(MARGIN_MM):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(coarse.any(axis=others)) * step[axis]
        margin = round(margin_mm / ct.spacing_mm[axis] / step[axis]) * step[axis]
        box.append(slice(max(inside[0] - margin, 0), inside[-1] + step[axis] + margin))
    window = (*box, slice(None))
    line = centre_line(mask[window], ct.spacing_mm, step.tolist())
    return _smoothed(curved_views(ct.array[window], mask[window], None, ct.spacing_mm, line))


def middle_views(ct: Volume, mask: np.ndarray) -> tuple[View, View]:
    """The scan's middle sagittal and coronal slice.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z).
    """
    width, depth, height = ct.array.shape
    line = np.repeat([[width // 2], [depth // 2]], height, axis=1)
    return _smoothed(curved_views(ct.array, mask, None, ct.spacing_mm, line))


def _smoothed(views: tuple[View, View]) -> tuple[View, View]:
    """The views on square pixels as fine as the figure needs, so that thick slices look whole."""
    pixel_mm = max(views[0].extent[3] / (LONGEST_INCH * DPI), FINEST_MM)
    first, second = (_resampled(view, pixel_mm) for view in views)
    return first, second


def _resampled(view: View, pixel_mm: float) -> View:
    _, width, _, height = view.extent
    factors = np.maximum(np.rint([height / pixel_mm, width / pixel_mm]), 2) / view.grey.shape
    grid: dict[str, Any] = {"grid_mode": True, "mode": "nearest"}
    return replace(
        view,
        grey=zoom(view.grey.astype(np.float32), factors, order=1, **grid),
        predicted=zoom(view.predicted, factors, order=0, **grid),
    )


def _shortened(text: str, length: int) -> str:
    """The text, without its middle if it is longer than a number of characters."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2 - 1]}…{text[-(length - length // 2) :]}"
