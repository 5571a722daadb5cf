"""Surroundings of spine and patient: muscles, uneven tissue, arms, the table."""

from itertools import pairwise

import numpy as np

from vertseg.phantom.bones import OTHER_BONE
from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.raster import DistanceField, capsule, smooth_noise
from vertseg.phantom.scene import Scene
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import Subject
from vertseg.phantom.tissue import FAT_HU, MUSCLE_HU, Canvas

_WORLD = Frame(np.zeros(3), np.eye(3))
_FAT_PLANE_MM = 4.0
_ARM_RADIUS_MM, _HUMERUS_RADIUS_MM = 42.0, 11.0

_PSOAS = (
    ("L1", (30, 2, 0), 7.0),
    ("L3", (38, 4, 0), 17.0),
    ("L4", (46, 10, -35), 21.0),
    ("L4", (62, 26, -95), 19.0),
)
_BACK_MUSCLES = (
    ("C4", (18, -38, 0), 14.0),
    ("T3", (24, -42, 0), 16.0),
    ("T9", (28, -46, 0), 20.0),
    ("L2", (32, -56, 0), 27.0),
    ("L4", (30, -58, -35), 24.0),
    ("L4", (24, -56, -95), 16.0),
)
"""Courses on the right: level, offset from its centre and radius in mm."""


def draw_muscles(rng: np.random.Generator, canvas: Canvas, scene: Scene) -> None:
    """Paint psoas and back muscles, each in a plane of fat, streaked with more or less fat."""
    subject, view = scene.subject, scene.view
    drawn = rng.random() < scene.settings.muscle_share
    settings = scene.settings
    lowest, highest = np.transpose([settings.muscle_leanness, settings.muscle_hu, (0.75, 1.15)])
    fat_level, muscle_hu, bulk = rng.uniform(lowest, highest)
    if not drawn:
        return
    streaks = smooth_noise(rng, canvas.grid, 7)
    for course in (_PSOAS, _BACK_MUSCLES):
        for side in (-1, 1):
            field = DistanceField(canvas.grid)
            points = [
                (subject.at(level, (side * x, y, z)).origin, bulk * radius * subject.size)
                for level, (x, y, z), radius in course
            ]
            for (start, first), (end, last) in pairwise(points):
                if (
                    min(start[2], end[2]) > view.top + 40
                    or max(start[2], end[2]) < view.bottom - 40
                ):
                    continue
                rod = capsule(canvas.grid, _WORLD, start, end, (first, last))
                field.add(rod, 1)
            around = (field.distance < _FAT_PLANE_MM) & canvas.body
            muscle = around & (field.distance < 0)
            canvas.hu[around] = FAT_HU
            canvas.hu[muscle] = np.where(
                streaks[muscle] > fat_level, FAT_HU, muscle_hu + 6 * canvas.texture[muscle]
            )


def vary_tissue(rng: np.random.Generator, canvas: Canvas, settings: PhantomSettings) -> None:
    """Add smooth differences of attenuation to the body: fine ones, and ones as large as organs."""
    deviation = float(rng.uniform(*settings.tissue_sd_hu))
    periods_mm = rng.uniform((4, 20), (10, 60))
    if not deviation:
        return
    for period_mm in periods_mm:
        added = np.float32(deviation) * smooth_noise(rng, canvas.grid, float(period_mm))
        canvas.hu += added * canvas.body


def draw_surroundings(
    rng: np.random.Generator, canvas: Canvas, bones: DistanceField, scene: Scene
) -> None:
    """Paint the arms beside the body and the table below its back, where the scan shows them."""
    settings = scene.settings
    has_arms, has_table = rng.random(2) < (settings.arms_share, settings.table_share)
    arm_place = rng.uniform((10, 0), (60, 60))
    gap_mm, thickness_mm, sag_mm = rng.uniform((0, 3, 0), (25, 12, 40))
    shell_hu, core_hu = rng.uniform((-300, -950), (400, -500))
    if has_arms:
        _draw_arms(canvas, bones, scene.subject, arm_place)
    if has_table:
        _draw_table(canvas, gap_mm, thickness_mm, sag_mm, (shell_hu, core_hu))


def _draw_arms(canvas: Canvas, bones: DistanceField, subject: Subject, place: Floats) -> None:
    """Paint the upper arms, cylinders of muscle around a humerus.

    Args:
        canvas: scan in the making.
        bones: distance field of all bones.
        subject: patient.
        place: distance beside and before the body in mm.
    """
    reach = 200 * np.sqrt(subject.girth) * subject.size + place[0]
    for side in (-1, 1):
        top, bottom = (
            subject.at(level, (side * reach / subject.size, place[1], 0)).origin
            for level in ("T3", "L3")
        )
        arm = capsule(canvas.grid, _WORLD, top, bottom, (_ARM_RADIUS_MM, _ARM_RADIUS_MM))
        if arm is None:
            continue
        flesh = (arm.distance < 0) & ~canvas.body[arm.region]
        skin = flesh & (arm.distance > -8)
        canvas.hu[arm.region][flesh] = MUSCLE_HU
        canvas.hu[arm.region][skin] = FAT_HU
        radii = (_HUMERUS_RADIUS_MM, _HUMERUS_RADIUS_MM)
        bones.add(capsule(canvas.grid, _WORLD, top, bottom, radii), OTHER_BONE)


def _draw_table(
    canvas: Canvas, gap_mm: float, thickness_mm: float, sag_mm: float, hu: tuple[float, float]
) -> None:
    """Paint a board along the patient, a core in a thin shell.

    Args:
        canvas: scan in the making.
        gap_mm: distance between back and board.
        thickness_mm: thickness of the board.
        sag_mm: depth of its middle below the places 200 mm beside it.
        hu: attenuation of shell and core.
    """
    x, y, _ = canvas.grid.axes
    rows = np.flatnonzero(canvas.body.any(axis=(0, 2)))
    if not len(rows):
        return
    across = (x - canvas.spine.x.mean()) / 200
    top = y[rows[0]] - gap_mm + sag_mm * np.minimum(across**2, 1)
    depth = (top[:, None] - y)[:, :, None]
    outside = ~canvas.body & (canvas.hu < FAT_HU - 200)
    inside = (depth > 0) & (depth < thickness_mm) & outside
    shell = inside & ((depth < 2) | (depth > thickness_mm - 2))
    canvas.hu[inside] = hu[1]
    canvas.hu[shell] = hu[0]
