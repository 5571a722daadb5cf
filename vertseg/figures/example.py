"""Views of a segmentation: a sagittal and a coronal slice along the spine, with vertebra names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vertseg.anatomy.centroids import Centres, body_centres
from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.figures.style import INK
from vertseg.scans.volumes import Volume

MARGIN_MM = (35.0, 30.0, 12.0)
"""Margin around the vertebrae: at the sides, at front and back, above and below."""

OPACITY = 0.55
BONE_WINDOW_HU = (-200.0, 900.0)

NAMES_INCH = 0.3
"""Room to the right of a view for its vertebrae's names."""

GAP_INCH = 0.08
NAME_POINT, LEADER_POINT = 7.5, 6.0
"""Height of a name, and length of the line between it and its vertebra."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, width, height in inches."""


@dataclass(frozen=True)
class View:
    """One slice, upright: rows from foot to head.

    Attributes:
        grey: CT (z, u) in HU.
        predicted: label map (z, u).
        reference: label map (z, u), or None.
        extent: left, right, bottom, top in mm.
        sides: letters of the left and the right side.
    """

    grey: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray | None
    extent: tuple[float, float, float, float]
    sides: tuple[str, str]


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


def centre_line(
    label_map: np.ndarray, spacing_mm: np.ndarray, step: Sequence[int] = (1, 1, 1)
) -> np.ndarray:
    """Position of the spine's centre at each height, interpolated between the bodies' centres.

    Args:
        label_map: label map (x, y, z), not empty.
        spacing_mm: voxel size (3,).
        step: stride in voxels along x, y and z.

    Returns:
        Voxel indices (2, z): x and y at each z, constant beyond the outermost vertebrae.
    """
    coarse = label_map[tuple(slice(None, None, stride) for stride in step)]
    points = body_centres(coarse, np.diag([*(spacing_mm * step), 1.0]))
    centres = np.array(list(points.values())) / spacing_mm
    centres = centres[centres[:, 2].argsort()]
    z = np.arange(label_map.shape[2])
    line = np.array([np.interp(z, centres[:, 2], centres[:, axis]) for axis in (0, 1)])
    return np.rint(line).astype(int)


def curved_views(
    grey: np.ndarray,
    predicted: np.ndarray,
    reference: np.ndarray | None,
    spacing_mm: np.ndarray,
    line: np.ndarray,
) -> tuple[View, View]:
    """Sagittal slice (anterior to the left) and coronal one (the patient's right to the left).

    Args:
        grey: CT (x, y, z) in HU.
        predicted: label map (x, y, z).
        reference: label map (x, y, z), or None.
        spacing_mm: voxel size (3,).
        line: voxel indices (2, z): x of the sagittal slice and y of the coronal one at each z.
    """
    x_line, y_line = line
    z = np.arange(grey.shape[2])
    width_x, width_y, height = np.array(grey.shape) * spacing_mm

    def sagittal(array: np.ndarray) -> np.ndarray:
        return array[x_line, :, z][:, ::-1]

    def coronal(array: np.ndarray) -> np.ndarray:
        return array[:, y_line, z].T[:, ::-1]

    def view(cut: Callable[[np.ndarray], np.ndarray], width: float, sides: tuple[str, str]) -> View:
        return View(
            cut(grey),
            cut(predicted),
            None if reference is None else cut(reference),
            (0.0, float(width), 0.0, float(height)),
            sides,
        )

    return view(sagittal, width_y, ("A", "P")), view(coronal, width_x, ("R", "L"))


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


def spread_apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """Heights, moved as little as needed to keep a gap between neighbours.

    Neighbours that are too close form a block around their common mean; blocks that then touch
    are joined.

    Args:
        heights: heights in ascending order.
        gap: smallest distance of neighbours, in the same unit.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1], gap) < _top(blocks[-2], gap) + gap:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return np.array(
        [_bottom(block, gap) + gap * index for block in blocks for index in range(len(block))]
    )


def _bottom(block: list[float], gap: float) -> float:
    return sum(block) / len(block) - gap * (len(block) - 1) / 2


def _top(block: list[float], gap: float) -> float:
    return sum(block) / len(block) + gap * (len(block) - 1) / 2


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
