"""Views of a segmentation: a sagittal and a coronal slice along the spine, with vertebra names."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.figures.slices import (
    BONE_WINDOW_HU,
    View,
    centre_line,
    curved_views,
    spread_apart,
)
from vertseg.figures.style import INK
from vertseg.scans.volumes import Volume

MARGIN_MM = (35.0, 30.0, 12.0)
"""Margin around the vertebrae: at the sides, at front and back, above and below."""

OPACITY = 0.55

NAMES_INCH = 0.3
"""Room to the right of a view for its vertebrae's names."""

GAP_INCH = 0.08
NAME_POINT, LEADER_POINT = 7.5, 6.0
"""Height of a name, and length of the line between it and its vertebra."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, width, height in inches."""


def spine_views(ct: Volume, predicted: np.ndarray, reference: np.ndarray) -> tuple[View, View]:
    """Sagittal and coronal slice that follow the reference's vertebral bodies.

    At each height the slice passes through the spine's centre line, interpolated between the
    body centres, so that a bent spine stays in view.

    Args:
        ct: the scan; array (x, y, z) in HU.
        predicted: label map (x, y, z).
        reference: label map (x, y, z), not empty.

    Returns:
        The sagittal view (anterior to the left) and the coronal one (the patient's right to the
        left), cropped to the vertebrae of reference and prediction.
    """
    box = _crop(predicted, reference, ct.spacing_mm)
    grey, ours, theirs = (array[box] for array in (ct.array, predicted, reference))
    return curved_views(grey, ours, theirs, ct.spacing_mm, centre_line(theirs, ct.spacing_mm))


def place_views(views: tuple[View, View], room: Rectangle) -> tuple[Rectangle, Rectangle]:
    """Rectangles of two slices at one scale, side by side or stacked, as large as possible.

    Args:
        views: slices of the same height in mm.
        room: rectangle that holds both, and the names to the right of each.
    """
    left, bottom, width, height = room
    (_, one, _, tall), (_, other, _, _) = (view.extent for view in views)
    free = width - NAMES_INCH
    beside = min((free - NAMES_INCH - GAP_INCH) / (one + other), height / tall)
    stacked = min(free / max(one, other), (height - GAP_INCH) / (2 * tall))
    top = bottom + height
    if beside >= stacked:
        second = left + one * beside + NAMES_INCH + GAP_INCH
        y = top - tall * beside
        return (
            (left, y, one * beside, tall * beside),
            (second, y, other * beside, tall * beside),
        )
    y = top - tall * stacked
    return (
        (left, y, one * stacked, tall * stacked),
        (left, y - GAP_INCH - tall * stacked, other * stacked, tall * stacked),
    )


def add_axes(figure: Figure, place: Rectangle) -> Axes:
    """New axes of a figure at a place in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (place[0] / width, place[1] / height, place[2] / width, place[3] / height)
    )


def draw_view(axes: Axes, view: View) -> None:
    """Draw a slice, the predicted labels in colour and any reference's outlines in white.

    The names of the predicted vertebrae stand to its right.

    Args:
        axes: axes of the slice; their frame is hidden.
        view: the slice.
    """
    axes.imshow(_overlay(view), extent=view.extent, origin="lower", interpolation="none")
    _draw_outlines(axes, view)
    outline = [patheffects.withStroke(linewidth=1.2, foreground="black")]
    for text, share, side in zip(view.sides, (0.03, 0.97), ("left", "right"), strict=True):
        axes.text(
            share, 0.99, text, transform=axes.transAxes, color="white", fontsize=6.5,
            horizontalalignment=side, verticalalignment="top", path_effects=outline,
        )  # fmt: skip
    _draw_names(axes, view)
    axes.set_axis_off()


def _crop(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: np.ndarray
) -> tuple[slice, ...]:
    voxels = np.argwhere((predicted != BACKGROUND) | (reference != BACKGROUND))
    margin = np.ceil(np.array(MARGIN_MM) / spacing_mm).astype(int)
    low = np.maximum(voxels.min(axis=0) - margin, 0)
    high = np.minimum(voxels.max(axis=0) + margin + 1, predicted.shape)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _overlay(view: View) -> np.ndarray:
    low, high = BONE_WINDOW_HU
    grey = np.clip((view.grey.astype(np.float32) - low) / (high - low), 0, 1)
    image = np.repeat(grey[..., None], 3, axis=-1)
    for label in labels_present(view.predicted):
        inside = view.predicted == label
        colour = np.array(to_rgb(label_colour(label)))
        image[inside] = (1 - OPACITY) * image[inside] + OPACITY * colour
    return image


def _draw_outlines(axes: Axes, view: View) -> None:
    if view.reference is None:
        return
    for label in labels_present(view.reference):
        axes.contour(
            view.reference == label,
            levels=[0.5],
            extent=view.extent,
            colors="white",
            linewidths=0.5,
        )


def _draw_names(axes: Axes, view: View) -> None:
    _, right, bottom, top = view.extent
    rows, columns = view.predicted.shape
    scale = np.diag([(top - bottom) / rows, right / columns])
    anchors: Centres = {
        label: (np.argwhere(view.predicted == label).mean(axis=0) + 0.5) @ scale
        for label in labels_present(view.predicted)
    }
    ordered = sorted(anchors, key=lambda label: anchors[label][0])
    point_mm = (top - bottom) * axes.figure.dpi / (axes.bbox.height * 72)
    for label, height in zip(
        ordered,
        spread_apart([anchors[i][0] for i in ordered], NAME_POINT * point_mm),
        strict=True,
    ):
        axes.annotate(
            NAMES[label],
            xy=(right, anchors[label][0]),
            xytext=(right + LEADER_POINT * point_mm, height),
            color=INK,
            fontsize=6.5,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label_colour(label), "linewidth": 1.2,
                        "shrinkA": 0.5, "shrinkB": 0},
        )  # fmt: skip
