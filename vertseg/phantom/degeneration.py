"""Wear of the spine and the look of its bones: osteophytes, dense joints, gas in discs, marrow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertseg.phantom.bones import BonePen, neural_arch
from vertseg.phantom.geometry import Floats
from vertseg.phantom.raster import DistanceField, Grid, ellipsoid, smooth_noise
from vertseg.phantom.scene import Scene
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import Subject, Vertebra
from vertseg.phantom.tissue import Canvas

_EDGE_MM = 4.0
"""Depth in which a dense patch reaches its full attenuation."""


@dataclass(frozen=True)
class Wear:
    """Wear of a subject's spine.

    Attributes:
        arch_bulk: factor on the thickness of arches and processes.
        osteophytes: by level, rows (angle from the right to the front in radians, end-plate -1 or
            1, semi-axes across and along the spine in mm).
        joint_hu: by level, attenuation added to the joints below it, (left, right).
        end_plate_hu: by level, attenuation added to its end-plates, (lower, upper).
        vacuum_hu: by level, attenuation of gas in the disc below it.
    """

    arch_bulk: float
    osteophytes: dict[str, Floats]
    joint_hu: dict[str, Floats]
    end_plate_hu: dict[str, Floats]
    vacuum_hu: dict[str, float]


@dataclass(frozen=True)
class BoneLook:
    """Peculiarities of a scan's bones.

    Attributes:
        cortical_width: factor on the width of the cortical rim.
        added_hu: attenuation added to trabecular bone, (x, y, z) float32, or None.
    """

    cortical_width: float
    added_hu: NDArray[np.float32] | None = None


def sample_wear(rng: np.random.Generator, subject: Subject, settings: PhantomSettings) -> Wear:
    """Sample a subject's wear; that of a healthy spine is the thickness of its arches alone."""
    wear = Wear(float(rng.uniform(*settings.arch_bulk)), {}, {}, {}, {})
    if rng.random() >= settings.degenerated_share:
        return wear
    severity = rng.uniform(0.2, 1.0)
    for level, vertebra in subject.vertebrae.items():
        if level == "C1":
            continue
        scale = {"cervical": 0.6, "thoracic": 0.8, "lumbar": 1.0}[vertebra.region]
        count = int(rng.poisson(5 * severity))
        wear.osteophytes[level] = np.column_stack(
            [
                rng.uniform(-0.2 * np.pi, 1.2 * np.pi, count),
                rng.choice([-1, 1], count),
                rng.uniform(2.5, 6, count) * scale,
                rng.uniform(1.5, 4, count) * scale,
            ]
        )
        joints, end_plates = rng.uniform(0, 800 * severity, 2), rng.uniform(0, 400 * severity, 2)
        wear.joint_hu[level] = joints * (rng.random(2) < 0.7)
        wear.end_plate_hu[level] = end_plates * (rng.random(2) < 0.4)
        if rng.random() < 0.15 * severity:
            wear.vacuum_hu[level] = float(rng.uniform(-800, -150))
    return wear


def draw_osteophytes(field: DistanceField, vertebra: Vertebra, wear: Wear) -> None:
    """Add bony spurs on the rims of a body, as part of the vertebra."""
    pen = BonePen(field, vertebra.frame, vertebra.label)
    for angle, end, across, along in wear.osteophytes.get(vertebra.name, ()):
        rim = (
            0.5 * vertebra.body_width * np.cos(angle),
            0.5 * vertebra.body_depth * np.sin(angle),
            end * (vertebra.rim_height / 2 - 0.5),
        )
        pen.ball(rim, (across, across, along))


def fill_vacuum(canvas: Canvas, scene: Scene, wear: Wear) -> None:
    """Paint flat bubbles of gas in worn discs."""
    for level, hu in wear.vacuum_hu.items():
        vertebra = scene.subject.vertebrae[level]
        if not scene.view.shows(vertebra, margin=40):
            continue
        below = -(vertebra.rim_height + vertebra.disc_height) / 2
        size = (0.3 * vertebra.body_width, 0.3 * vertebra.body_depth, 0.3 * vertebra.disc_height)
        canvas.paint(ellipsoid(canvas.grid, vertebra.frame.shifted((0, 0, below)), size), hu)


def sample_bone_look(rng: np.random.Generator, scene: Scene, wear: Wear) -> BoneLook:
    """Sample the cortex's width and the marrow's unevenness; make worn bone dense."""
    settings = scene.settings
    width = float(rng.uniform(*settings.cortical_width))
    marrow_sd = float(rng.uniform(*settings.marrow_sd_hu))
    period_mm = rng.uniform(6, 25)
    if not (marrow_sd or wear.joint_hu):
        return BoneLook(width)
    added = np.float32(marrow_sd) * smooth_noise(rng, scene.grid, period_mm)
    for level in wear.joint_hu:
        vertebra = scene.subject.vertebrae[level]
        if not scene.view.shows(vertebra, margin=60):
            continue
        arch = neural_arch(vertebra)
        reach = (vertebra.posterior_height + vertebra.disc_height) / 2
        joint_z = arch.pedicle_z - reach
        size = np.array({"cervical": (6, 6, 6), "thoracic": (6, 6, 8), "lumbar": (10, 10, 11)}[
            vertebra.region
        ])  # fmt: skip
        for side, hu in zip((-1, 1), wear.joint_hu[level], strict=True):
            place = (side * arch.joint_x, arch.joint_y - 2, joint_z)
            _densify(added, scene.grid, vertebra, place, size, hu)
        plate = (0.45 * vertebra.body_width, 0.45 * vertebra.body_depth, 6)
        for end, hu in zip((-1, 1), wear.end_plate_hu[level], strict=True):
            place = (0, 0, end * vertebra.rim_height / 2)
            _densify(added, scene.grid, vertebra, place, plate, hu)
    return BoneLook(width, added)


def _densify(
    added: NDArray[np.float32],
    grid: Grid,
    vertebra: Vertebra,
    place: tuple[float, float, float],
    semi_axes: tuple[float, float, float] | Floats,
    hu: float,
) -> None:
    """Raise attenuation in a soft-edged ellipsoid around a point of the vertebra's frame."""
    patch = ellipsoid(grid, vertebra.frame.shifted(place), semi_axes) if hu else None
    if patch is not None:
        depth = np.clip(-patch.distance / np.float32(_EDGE_MM), 0, 1)
        added[patch.region] += np.float32(hu) * depth
