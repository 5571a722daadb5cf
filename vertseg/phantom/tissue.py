"""The body around the bones: outline, fat, muscle, discs, spinal canal, brain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.raster import Grid, Patch, ellipsoid, smooth_noise
from vertseg.phantom.scene import Scene
from vertseg.phantom.skeleton import skull_frame
from vertseg.phantom.subject import Subject

AIR_HU, FAT_HU, MUSCLE_HU, CORD_HU, BRAIN_HU = -1000.0, -100.0, 55.0, 25.0, 36.0
_OUTLINE_EXPONENT = 2.4
Knot = tuple[str, float, tuple[float, ...]]
"""Level, height above it in mm, values there."""

_OUTLINE: tuple[Knot, ...] = (
    ("C1", 175, (20, 20)),
    ("C1", 150, (55, 70)),
    ("C1", 80, (78, 100)),
    ("C1", 10, (72, 88)),
    ("C4", 0, (62, 64)),
    ("C6", 0, (66, 64)),
    ("C7", 0, (110, 68)),
    ("T2", 0, (190, 84)),
    ("T5", 0, (195, 108)),
    ("T9", 0, (165, 122)),
    ("L1", 0, (152, 122)),
    ("L3", 0, (150, 120)),
    ("L3", -80, (168, 122)),
    ("L3", -200, (175, 118)),
)
"""Half width and half depth of the body in mm."""
_BACK: tuple[Knot, ...] = (
    ("C1", 60, (85,)),
    ("C4", 0, (60,)),
    ("T5", 0, (74,)),
    ("L3", 0, (82,)),
)
"""Distance in mm from the spine back to the skin."""
_FAT_THRESHOLD: tuple[Knot, ...] = (
    ("C6", 0, (0.75,)),
    ("T8", 0, (0.9,)),
    ("L1", 0, (0.2,)),
    ("L3", 0, (0.15,)),
)
"""Texture value above which deep tissue is fat, lowest in the abdomen."""


@dataclass(frozen=True)
class SpineLine:
    """Axis of the vertebral column: world x and y in mm for each slice, arrays (z,)."""

    x: Floats
    y: Floats


@dataclass
class Canvas:
    """A scan in the making.

    Attributes:
        grid: voxels of the scan.
        hu: attenuation, (x, y, z) float32.
        body: voxels inside the skin, (x, y, z).
        spine: axis of the vertebral column.
        spine_distance: distance to that axis within the slice in mm, (x, y, z) float32.
        texture: standard normal noise with nodes 14 mm apart, (x, y, z) float32.
    """

    grid: Grid
    hu: NDArray[np.float32]
    body: NDArray[np.bool_]
    spine: SpineLine
    spine_distance: NDArray[np.float32]
    texture: NDArray[np.float32]

    def paint(self, patch: Patch | None, hu: float, texture_hu: float = 5.0) -> None:
        """Fill a primitive with textured tissue, within the body alone."""
        if patch is None:
            return
        inside = (patch.distance < 0) & self.body[patch.region]
        self.hu[patch.region][inside] = hu + texture_hu * self.texture[patch.region][inside]


def spine_line(grid: Grid, subject: Subject) -> SpineLine:
    """Smoothed line through the vertebral bodies, continued straight beyond the spine."""
    origins = np.array([v.frame.origin for v in subject.vertebrae.values()])[::-1]
    x, y = (np.interp(grid.axes[2], origins[:, 2], origins[:, axis]) for axis in (0, 1))
    smoothing = 12 / grid.spacing[2]
    return SpineLine(
        gaussian_filter1d(x, smoothing, mode="nearest"),
        gaussian_filter1d(y, smoothing, mode="nearest"),
    )


def fill_body(rng: np.random.Generator, scene: Scene) -> Canvas:
    """A canvas of air and a body of muscle under a layer of fat, with fat between deep tissues."""
    grid, subject = scene.grid, scene.subject
    line = spine_line(grid, subject)
    texture = smooth_noise(rng, grid, 14)
    spine_distance = np.sqrt(_in_slice(grid, line.x, line.y, 2))
    radius = _outline_radius(scene, line)
    body = radius < 1
    hu = np.where(body, MUSCLE_HU + 6 * texture, np.float32(AIR_HU))
    fat_share = np.clip(0.12 * subject.girth**2.5, 0.06, 0.3)
    skin_fat = body & (radius > (1 - fat_share) ** _OUTLINE_EXPONENT)
    heights, thresholds = _knots(subject, _FAT_THRESHOLD)
    threshold = np.interp(grid.axes[2], heights + scene.landmarks.outline_shift, thresholds[:, 0])
    deep_fat = body & (texture > threshold.astype(np.float32)) & (spine_distance > 26)
    fat = skin_fat | deep_fat
    hu[fat] = FAT_HU
    return Canvas(grid, hu, body, line, spine_distance, texture)


def fill_discs_and_canal(rng: np.random.Generator, canvas: Canvas, scene: Scene) -> None:
    """Paint the intervertebral discs and the dural sac."""
    for vertebra in scene.subject.vertebrae.values():
        disc_hu = rng.normal(88, 8)
        if vertebra.name == "C1" or not scene.view.shows(vertebra, margin=40):
            continue
        frame, depth = vertebra.frame, vertebra.body_depth
        down = (vertebra.rim_height + vertebra.disc_height) / 2
        below = frame.shifted((0, -vertebra.slip / 2, -down))
        disc = (vertebra.body_width / 2, depth / 2, vertebra.disc_height / 2 + 2.5)
        canvas.paint(ellipsoid(canvas.grid, below, disc), disc_hu)
        canal = frame.shifted((0, -(depth + vertebra.canal_depth) / 2, 0))
        sac = (0.42 * vertebra.canal_width, 0.42 * vertebra.canal_depth, vertebra.rim_height)
        canvas.paint(ellipsoid(canvas.grid, canal, sac), CORD_HU)


def fill_brain(canvas: Canvas, scene: Scene) -> None:
    """Paint the inside of the cranial vault."""
    size = scene.subject.size
    centre: Frame = skull_frame(scene).shifted(np.array([0, 18, 78]) * size)
    canvas.paint(ellipsoid(canvas.grid, centre, np.array([68, 88, 64]) * size), BRAIN_HU)


def _outline_radius(scene: Scene, line: SpineLine) -> NDArray[np.float32]:
    """Super-ellipse radius (x, y, z) in each slice: 0 on the body's axis, 1 at the skin."""
    grid, subject = scene.grid, scene.subject
    heights, half_axes = _knots(subject, _OUTLINE)
    below_neck = heights < subject.height("C6")
    heights = heights + np.where(below_neck, scene.landmarks.outline_shift, 0)
    smoothing = 18 / grid.spacing[2]
    half_width, half_depth = (
        gaussian_filter1d(
            np.interp(grid.axes[2], heights, half_axes[:, k]) * subject.size * subject.girth,
            smoothing,
            mode="nearest",
        )
        for k in (0, 1)
    )
    heights, distances = _knots(subject, _BACK)
    to_back = np.interp(grid.axes[2], heights, distances[:, 0])
    to_back *= subject.size * subject.girth**0.7
    return _in_slice(
        grid, line.x, line.y - to_back + half_depth, _OUTLINE_EXPONENT, half_width, half_depth
    )


def _in_slice(
    grid: Grid,
    centre_x: Floats,
    centre_y: Floats,
    exponent: float,
    half_width: Floats | float = 1.0,
    half_depth: Floats | float = 1.0,
) -> NDArray[np.float32]:
    """Sum |dx / half_width|^e + |dy / half_depth|^e (x, y, z) around a point of each slice."""
    x, y, _ = grid.axes
    across = np.abs((x[:, None] - centre_x) / half_width) ** exponent
    forward = np.abs((y[:, None] - centre_y) / half_depth) ** exponent
    return across.astype(np.float32)[:, None, :] + forward.astype(np.float32)[None, :, :]


def _knots(subject: Subject, table: Sequence[Knot]) -> tuple[Floats, Floats]:
    """World heights (n,), ascending, and values (n, k) of a table of knots."""
    rows = sorted(
        (subject.height(level) + above * subject.size, values) for level, above, values in table
    )
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
