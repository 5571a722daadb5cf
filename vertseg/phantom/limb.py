"""Legs without a spine; their spongy joints and hollow shafts resemble parts of vertebrae."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vertseg.phantom.geometry import Frame, rotation
from vertseg.phantom.raster import DistanceField, Grid, capsule, ellipsoid, smooth_noise
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.tissue import AIR_HU, FAT_HU, MUSCLE_HU

_TILT_SD_DEG = (6.0, 6.0, 20.0)
_MARROW_HU = -70.0
_SPONGY_REACH_MM = 45.0
"""Distance from a joint at which fatty marrow replaces most of the spongy bone."""
_SHAFT_CORTEX_MM = 4.0
_FLESH, _BONE, _VESSEL = 1, 2, 3


def draw_limb(
    rng: np.random.Generator, settings: PhantomSettings
) -> tuple[Grid, NDArray[np.float32]]:
    """Draw one leg, or two side by side, about a knee or an ankle.

    Returns:
        The voxel grid and attenuation in HU (x, y, z).
    """
    legs = int(rng.integers(1, 3))
    radius_mm = float(rng.uniform(42, 80))
    grid = _sample_grid(rng, legs, radius_mm, settings)
    is_knee = rng.random() < 0.7
    texture = smooth_noise(rng, grid, 14)
    streaks = smooth_noise(rng, grid, 7)
    streak_level, skin_mm = rng.uniform((0.5, 3), (2.5, 20))
    middle = (grid.origin + grid.upper) / 2
    joint_z = rng.uniform(grid.origin[2] - 30, grid.upper[2] + 30)
    hu = np.full(grid.shape, AIR_HU, np.float32)
    for leg in range(legs):
        aside = (leg - (legs - 1) / 2) * 2.2 * radius_mm
        x, y = middle[:2] + np.array([aside, 0]) + rng.normal(0, 8, 2)
        pitch, roll, yaw = rng.normal(0, _TILT_SD_DEG)
        turn = rotation("x", pitch) @ rotation("y", roll) @ rotation("z", yaw)
        frame = Frame(np.array([x, y, joint_z]), turn)
        girths = (radius_mm * rng.uniform(0.6, 1), radius_mm)
        rods = [capsule(grid, frame, (0, 0, -500 if is_knee else -30), (0, 0, 500), girths)]
        if not is_knee:
            rods.append(capsule(grid, frame, (0, -20, -35), (0, 110, -40), (40, 32)))
        flesh = DistanceField(grid)
        for rod in rods:
            flesh.add(rod, _FLESH)
        inside = flesh.distance < 0
        hu[inside] = FAT_HU + 6 * texture[inside]
        muscle = (flesh.distance < -skin_mm) & (streaks < streak_level)
        hu[muscle] = MUSCLE_HU + 6 * texture[muscle]
        field = DistanceField(grid)
        (_draw_knee if is_knee else _draw_ankle)(rng, field, frame)
        _draw_vessels(rng, field, frame, radius_mm)
        _fill(rng, hu, field, frame, texture, settings)
    return grid, hu


def _sample_grid(
    rng: np.random.Generator, legs: int, radius_mm: float, settings: PhantomSettings
) -> Grid:
    in_plane = rng.uniform(*settings.in_plane_spacing_mm)
    slices = rng.uniform(*settings.slice_spacing_mm)
    spacing = np.array([in_plane, in_plane, slices])
    margins_mm = rng.uniform(-10, 60, 2)
    width = 2 * radius_mm * np.array([1.1 * legs, 1]) + margins_mm
    extent = np.array([*width, rng.uniform(*settings.length_mm)])
    x, y, z = np.round(extent / spacing).astype(int)
    return Grid(np.zeros(3), spacing, (int(x), int(y), int(z)))


def _draw_knee(rng: np.random.Generator, field: DistanceField, frame: Frame) -> None:
    """Draw femur, tibia, fibula and patella around a joint at the frame's origin."""
    size = rng.uniform(0.85, 1.15)

    def ball(centre: ArrayLike, semi_axes: ArrayLike) -> None:
        place = frame.shifted(size * np.array(centre))
        field.add(ellipsoid(field.grid, place, size * np.array(semi_axes)), _BONE)

    def rod(start: ArrayLike, end: ArrayLike, radii: tuple[float, float]) -> None:
        first, last = size * np.array([start, end])
        widths = (size * radii[0], size * radii[1])
        field.add(capsule(field.grid, frame, first, last, widths), _BONE)

    for side in (-1, 1):
        ball((side * 22, -4, 20), (20, 30, 20))
    rod((0, 6, 25), (0, 10, 85), (26, 15))
    rod((0, 10, 85), (0, 8, 450), (15, 14))
    ball((0, 0, -14), (38, 26, 14))
    rod((0, 4, -25), (0, 10, -85), (24, 13))
    rod((0, 10, -85), (0, 8, -400), (13, 12))
    rod((34, -16, -22), (30, -14, -60), (10, 6))
    rod((30, -14, -60), (26, -12, -400), (6, 6))
    ball((0, 42, 26), (22, 11, 22))


def _draw_ankle(rng: np.random.Generator, field: DistanceField, frame: Frame) -> None:
    """Draw the ends of tibia and fibula, and small bones of the foot at random places below."""
    grid = field.grid
    field.add(capsule(grid, frame, (0, 0, 14), (0, 0, 60), (20, 13)), _BONE)
    field.add(capsule(grid, frame, (0, 0, 60), (0, 4, 400), (13, 12)), _BONE)
    field.add(capsule(grid, frame, (28, -8, -8), (26, -8, 400), (9, 6)), _BONE)
    field.add(ellipsoid(grid, frame.shifted((0, 4, -18)), (20, 27, 14)), _BONE)
    field.add(ellipsoid(grid, frame.shifted((0, -22, -45)), (18, 34, 18)), _BONE)
    for _ in range(int(rng.integers(3, 9))):
        centre = rng.uniform((-28, 20, -55), (28, 110, -20))
        field.add(ellipsoid(grid, frame.shifted(centre), rng.uniform(6, 17, 3)), _BONE)


def _draw_vessels(
    rng: np.random.Generator, field: DistanceField, frame: Frame, radius_mm: float
) -> None:
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(-0.6, 0.6, 2) * radius_mm
        rod = capsule(field.grid, frame, (x, y, -400), (0.7 * x, 0.7 * y, 400), (2.5, 3.5))
        field.add(rod, _VESSEL)


def _fill(
    rng: np.random.Generator,
    hu: NDArray[np.float32],
    field: DistanceField,
    frame: Frame,
    texture: NDArray[np.float32],
    settings: PhantomSettings,
) -> None:
    """Give bones and vessels their attenuation, blended with the flesh over a voxel.

    Near the joint a thin cortex holds spongy bone, in the shafts a thick one holds fatty marrow.
    """
    grid = field.grid
    spongy_hu, cortical_hu = rng.uniform(
        (120, settings.cortical_hu[0]), (380, settings.cortical_hu[1])
    )
    vessel_hu = rng.uniform(40, settings.aortic_contrast_hu[1])
    whole = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    along = grid.local(whole, Frame(frame.origin, frame.axes[:, 2:]))[0]
    spongy = np.exp(-((along / _SPONGY_REACH_MM) ** 2))
    voxel = float(grid.spacing.mean())
    near = field.distance < 1
    depth, share_spongy = -field.distance[near], spongy[near]
    inner = _MARROW_HU + (spongy_hu + 40 * texture[near] - _MARROW_HU) * share_spongy
    cortex_mm = max(1.1, 0.7 * voxel) + _SHAFT_CORTEX_MM * (1 - share_spongy)
    rim = 1 / (1 + np.exp((depth - cortex_mm) / 0.5))
    inside = np.where(field.owner[near] == _VESSEL, vessel_hu, inner + (cortical_hu - inner) * rim)
    share = np.clip(0.5 + depth / max(0.9, 0.8 * voxel), 0, 1)
    hu[near] += ((inside - hu[near]) * share).astype(np.float32)
