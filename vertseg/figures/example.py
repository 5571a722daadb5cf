"""Example segmentation: a sagittal and a coronal slice along the spine, with vertebra names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from vertseg.centroids import Centres, body_centres
from vertseg.figures.style import INK, label_colour
from vertseg.labels import BACKGROUND, NAMES
from vertseg.volumes import Volume, labels_present

MARGIN_MM = (35.0, 30.0, 12.0)
"""What is shown around the vertebrae: to the sides, front and back, above and below."""

OPACITY = 0.55
BONE_WINDOW_HU = (-200.0, 900.0)


@dataclass(frozen=True)
class View:
    """One slice, upright: rows from foot to head.

    Attributes:
        grey: CT (z, u) in HU.
        predicted: label map (z, u).
        reference: label map (z, u).
        extent: left, right, bottom, top in mm.
        sides: what lies to the left and to the right.
    """

    grey: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray
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
    spacing = np.diag([*ct.spacing_mm, 1.0])
    x_line, y_line = _centre_line(theirs, spacing)
    z = np.arange(theirs.shape[2])
    width_x, width_y, height = np.array(theirs.shape) * ct.spacing_mm

    def sagittal(array: np.ndarray) -> np.ndarray:
        return array[x_line, :, z][:, ::-1]

    def coronal(array: np.ndarray) -> np.ndarray:
        return array[:, y_line, z].T

    return (
        View(
            sagittal(grey),
            sagittal(ours),
            sagittal(theirs),
            (0.0, width_y, 0.0, height),
            ("A", "P"),
        ),
        View(
            coronal(grey), coronal(ours), coronal(theirs), (0.0, width_x, 0.0, height), ("R", "L")
        ),
    )


def draw_view(axes: Axes, view: View) -> None:
    """Draw a slice, the predicted labels in colour and the reference's outline in white.

    The predicted vertebrae are named to its right.

    Args:
        axes: where; its frame is hidden.
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
    """Move ascending heights as little as needed to keep a gap between neighbours.

    Neighbours that are too close form a block around their common mean; blocks that then touch
    are joined.

    Args:
        heights: ascending.
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


def _centre_line(reference: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices x and y of the spine's centre at each z."""
    centres = np.array(list(body_centres(reference, spacing).values())) / np.diag(spacing)[:3]
    centres = centres[centres[:, 2].argsort()]
    z = np.arange(reference.shape[2])
    x, y = (np.interp(z, centres[:, 2], centres[:, axis]) for axis in (0, 1))
    return np.rint(x).astype(int), np.rint(y).astype(int)


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
    height_point = axes.bbox.height * 72 / axes.figure.dpi
    line_mm = 7.5 * (top - bottom) / height_point
    for label, height in zip(
        ordered, spread_apart([anchors[i][0] for i in ordered], line_mm), strict=True
    ):
        axes.annotate(
            NAMES[label],
            xy=(right, anchors[label][0]),
            xytext=(right * 1.07, height),
            color=INK,
            fontsize=6.5,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label_colour(label), "linewidth": 1.2,
                        "shrinkA": 0.5, "shrinkB": 0},
        )  # fmt: skip
