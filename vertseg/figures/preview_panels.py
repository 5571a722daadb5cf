"""What a preview shows: slices along the spine, plain and labelled, and the bones behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, IDS
from vertseg.figures.slices import (
    BONE_WINDOW_HU,
    View,
    body_voxels,
    curved_views,
    line_through,
)
from vertseg.scans.volumes import Volume

if TYPE_CHECKING:
    from vertseg.screening.shape import SpineShape

MARGIN_MM = (60.0, 60.0)
"""Margin around the vertebrae: at the sides, at front and back. The scan's whole height is shown,
so that missed vertebrae, ribs and the sacrum can be seen."""

BONES_MARGIN_MM = 90.0
BONES_MM = (60.0, 20.0)
"""Depth of the slab behind and in front of the bodies' centres whose bones are projected."""

BONES_WINDOW_HU = (50.0, 1100.0)
"""Narrowest window of the projected bones; it ends at their brightest pixels but for 2 %."""

COARSE_MM = 2.5
"""Approximate size of the voxels on which the spine's course is sought."""


@dataclass(frozen=True)
class Measure:
    """A measure of the spine's shape, shown on a panel.

    Attributes:
        text: what was measured.
        upper: label of the vertebra where it begins.
        lower: label of the vertebra where it ends.
        is_slip: it stands at the disc between the two, else at a bracket beside both.
    """

    text: str
    upper: int
    lower: int
    is_slip: bool = False


@dataclass(frozen=True)
class Panel:
    """A picture of the scan within the preview.

    Attributes:
        caption: words above it.
        view: the slice or projection.
        marks: labels drawn, with each vertebra's height in mm above the panel's lower edge; empty
            for a plain picture.
        window_hu: HU shown as black and as white.
        names_at: side of a vertebra on which its name stands.
        measures: of the spine's shape: angles at the left edge, slips at the right one.
    """

    caption: str
    view: View
    marks: dict[int, float]
    window_hu: tuple[float, float] = BONE_WINDOW_HU
    names_at: str = "left"
    measures: Sequence[Measure] = ()


def preview_panels(ct: Volume, mask: np.ndarray, shape: "SpineShape | None" = None) -> list[Panel]:
    """Plain and labelled slices along the spine, and its bones, over the scan's whole height.

    Slices along the spine straighten it: measures of its shape are stated, not shown.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), not empty.
        shape: curves and slips, if any.
    """
    step = np.maximum(COARSE_MM // ct.spacing_mm, 1).astype(int)
    if not mask[:: step[0], :: step[1], :: step[2]].any():
        step = np.ones(3, int)
    coarse = mask[:: step[0], :: step[1], :: step[2]] != BACKGROUND
    window = []
    for axis, margin_mm in enumerate(MARGIN_MM):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(coarse.any(axis=others)) * step[axis]
        margin = round(margin_mm / ct.spacing_mm[axis] / step[axis]) * step[axis]
        window.append(slice(max(inside[0] - margin, 0), inside[-1] + step[axis] + margin))
    cut = (*window, slice(None))
    points = body_voxels(mask[cut], ct.spacing_mm, step.tolist())
    line = line_through(points, mask.shape[2])
    sagittal, coronal = curved_views(ct.array[cut], mask[cut], None, ct.spacing_mm, line)
    heights = {label: float((point[2] + 0.5) * ct.spacing_mm[2]) for label, point in points.items()}
    corner = np.array([[side.start] for side in window])
    bones = bones_view(ct, line + corner)
    return [
        Panel(
            "sagittal, along the spine", sagittal, {}, measures=_seen(_sagittal(shape), sagittal)
        ),
        Panel("with labels", sagittal, heights),
        Panel(
            "coronal, along the spine", coronal, heights, names_at="right",
            measures=_seen(_coronal(shape), coronal),
        ),
        Panel("bones, seen from the front", bones, {}, bones_window(bones)),
    ]  # fmt: skip


def _sagittal(shape: "SpineShape | None") -> list[Measure]:
    """Kyphosis, lordosis, and slips that have a grade."""
    if shape is None:
        return []
    angles = (
        ("kyphosis", shape.thoracic_kyphosis_deg, "T4", "T12"),
        ("lordosis", shape.lumbar_lordosis_deg, "L1", "L5"),
    )
    return [
        *(
            Measure(_signed(f"{name} {angle:.0f}°"), IDS[upper], IDS[lower])
            for name, angle, upper, lower in angles
            if angle is not None
        ),
        *(
            Measure(_signed(f"slip {one.slip_mm:+.0f} mm"), IDS[one.upper], IDS[one.lower], True)
            for one in shape.segments
            if one.meyerding_grade and one.slip_mm is not None
        ),
    ]


def _coronal(shape: "SpineShape | None") -> list[Measure]:
    """Cobb's angle."""
    if shape is None or shape.cobb_deg is None:
        return []
    upper, lower = (IDS[name] for name in shape.cobb_levels)
    return [Measure(f"Cobb {shape.cobb_deg:.0f}°", upper, lower)]


def _seen(measures: Sequence[Measure], view: View) -> list[Measure]:
    """Those whose vertebrae lie in the view."""
    present = set(labels_present(view.predicted))
    return [one for one in measures if {one.upper, one.lower} <= present]


def _signed(text: str) -> str:
    return text.replace("-", "−")


def middle_panels(ct: Volume, mask: np.ndarray) -> list[Panel]:
    """The scan's middle sagittal and coronal slice.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), empty.
    """
    width, depth, height = ct.array.shape
    line = np.repeat([[width // 2], [depth // 2]], height, axis=1)
    sagittal, coronal = curved_views(ct.array, mask, None, ct.spacing_mm, line)
    return [Panel("sagittal, middle", sagittal, {}), Panel("coronal, middle", coronal, {})]


def bones_view(ct: Volume, line: np.ndarray) -> View:
    """The brightest HU from behind the spine to its front at each place, seen from the front.

    Ribs, transverse processes, sacrum and pelvis appear on it, from which a person can count.

    Args:
        ct: the scan; array (x, y, z) in HU.
        line: voxel indices (2, z): x and y of the spine's centre at each z.
    """
    array, (x_mm, y_mm, z_mm) = ct.array, ct.spacing_mm
    behind, before = (round(float(depth / y_mm)) for depth in BONES_MM)
    margin = round(float(BONES_MARGIN_MM / x_mm))
    left, right = max(line[0].min() - margin, 0), line[0].max() + margin + 1
    every = max(int(1.5 // y_mm), 1)
    projected = np.stack(
        [
            array[left:right, max(y - behind, 0) : y + before + 1 : every, z].max(axis=1)
            for z, y in enumerate(line[1])
        ]
    )[:, ::-1]
    height, width = projected.shape
    extent = (0.0, float(width * x_mm), 0.0, float(height * z_mm))
    return View(projected, np.zeros((1, 1), np.uint8), None, extent, ("R", "L"))


def bones_window(bones: View) -> tuple[float, float]:
    """HU shown as black and as white in a projection; noise and metal make them brighter."""
    low, high = BONES_WINDOW_HU
    return low, max(high, float(np.percentile(bones.grey, 98)))
