"""Bones beside the vertebrae: ribs and sternum, shoulder girdle, skull, sacrum and pelvis.

They all belong to `OTHER_BONE` but the sacrum, which has a label. Dimensions in mm are set by eye
for an average adult.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from vertseg.anatomy.labels import SACRUM
from vertseg.phantom.bones import OTHER_BONE, BonePen, vertebral_body
from vertseg.phantom.geometry import Floats, Frame, rotation
from vertseg.phantom.raster import DistanceField, capsule, ellipsoid
from vertseg.phantom.scene import Scene
from vertseg.phantom.subject import Subject, Vertebra

_SIDES = (-1, 1)
_RIB_STEP_MM = 9.0
_RIB_RADIUS_MM = 3.6
_RIB_HALF_WIDTH = (58, 84, 101, 112, 119, 125, 130, 133, 135, 134, 130, 124, 118)
_RIB_END_DEGREES = (118, 132, 138, 140, 142, 142, 140, 134, 126, 112, 78, 50, 30)
_RIB_DESCENT = (22, 40, 52, 62, 70, 78, 86, 92, 95, 92, 60, 34, 14)
_RIB_START_DEGREES = 24


@dataclass(frozen=True)
class ChestRing:
    """Ellipse of the ribcage at one thoracic level.

    Attributes:
        number: of the level's ribs, 1 at the top.
        vertebra: that carries them.
        centre: (3,) world mm.
        half_width: left-right half axis in mm.
        half_depth: front-back half axis in mm.
    """

    number: int
    vertebra: Vertebra
    centre: Floats
    half_width: float
    half_depth: float


def chest_rings(subject: Subject) -> dict[str, ChestRing]:
    """Ellipse of the ribcage by thoracic level, cranial to caudal."""
    scale = subject.size * np.sqrt(subject.girth)
    rings = {}
    thoracic = [v for v in subject.vertebrae.values() if v.region == "thoracic"]
    for number, vertebra in enumerate(thoracic, start=1):
        half_width = _RIB_HALF_WIDTH[number - 1] * scale
        half_depth = half_width * np.interp(number, [1, 3, 7, 12], [0.62, 0.66, 0.74, 0.72])
        rib_angle_y = -vertebra.body_depth / 2 - vertebra.canal_depth - 20
        centre = Frame(vertebra.frame.origin, subject.axes).to_world(
            (0, rib_angle_y + half_depth, 0)
        )
        rings[vertebra.name] = ChestRing(number, vertebra, centre, half_width, half_depth)
    return rings


def rib_curve(subject: Subject, ring: ChestRing, side: int, length_share: float) -> Floats:
    """Points (n, 3) in world mm along a rib: head, tubercle, angle and the arc forwards.

    Args:
        subject: patient.
        ring: level of the rib.
        side: -1 for the left rib, 1 for the right one.
        length_share: length relative to the usual one.
    """
    vertebra = ring.vertebra
    start, end = _RIB_START_DEGREES, _RIB_END_DEGREES[ring.number - 1]
    angles = np.deg2rad(np.linspace(start, start + (end - start) * length_share, 10))
    descent = _RIB_DESCENT[ring.number - 1] * subject.size
    arc = np.stack(
        [
            side * ring.half_width * np.sin(angles),
            -ring.half_depth * np.cos(angles),
            -6 - descent * (0.05 + (1 - np.cos(angles)) / 2),
        ],
        axis=1,
    )
    back = -vertebra.body_depth / 2
    height = vertebra.posterior_height
    head = (side * vertebra.body_width / 2, back + 3, 0.35 * height)
    tubercle = (
        side * (vertebra.transverse_width / 2 + 1),
        back - 0.62 * vertebra.canal_depth - 8,
        0.25 * height,
    )
    through = np.vstack(
        [
            vertebra.frame.to_world([head, tubercle]),
            Frame(ring.centre, subject.axes).to_world(arc),
        ]
    )
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(through, axis=0), axis=1)))
    count = max(int(along[-1] / _RIB_STEP_MM), 2)
    return CubicSpline(along, through)(np.linspace(0, along[-1], count + 1))


def draw_ribcage(rng: np.random.Generator, field: DistanceField, subject: Subject) -> None:
    """Draw the ribs of all thoracic vertebrae and the sternum. Floating ribs vary in length."""
    grid = field.grid
    rings = chest_rings(subject)
    for ring in rings.values():
        share = {12: rng.uniform(0.5, 1.25), 13: rng.uniform(0.15, 1.0)}.get(ring.number, 1.0)
        lowest = ring.centre[2] - 1.2 * _RIB_DESCENT[ring.number - 1] * subject.size - 20
        if lowest > grid.upper[2] or ring.centre[2] + 40 < grid.origin[2]:
            continue
        for side in _SIDES:
            curve = rib_curve(subject, ring, side, share)
            near = np.abs(curve - (grid.origin + grid.upper) / 2) < (
                (grid.upper - grid.origin) / 2 + 3 * _RIB_STEP_MM
            )
            visible = near.all(axis=1)
            if visible.any():
                first, last = np.flatnonzero(visible)[[0, -1]]
                field.add_tube(
                    curve[first : last + 1],
                    _RIB_RADIUS_MM * subject.size,
                    OTHER_BONE,
                    (1, 1, 1.55),
                )
    third = list(rings.values())[2]
    sternum = Frame(third.centre, subject.axes).shifted((0, third.half_depth - 4, -35))
    pen = BonePen(field, sternum, OTHER_BONE)
    pen.rod((0, 0, 0), (0, 28, -150 * subject.size), (9, 8), (2.2, 0.7, 1))


def draw_shoulders(field: DistanceField, scene: Scene) -> None:
    """Draw scapulae, clavicles and humeral heads at their sampled height."""
    subject = scene.subject
    size = subject.size
    shift = scene.landmarks.shoulder_shift / size
    for side in _SIDES:
        blade = subject.at("T4", (side * 88, -32, -12 + shift))
        blade = blade.turned(rotation("z", -side * 38) @ rotation("x", 8))
        field.add(ellipsoid(field.grid, blade, np.array([46, 4.5, 62]) * size), OTHER_BONE)
        pen = BonePen(field, subject.at("T2", (0, 0, shift)), OTHER_BONE)
        medial, lateral = np.array([[side * 40, -62, -12], [side * 135, -28, 12]]) * size
        pen.rod(medial, lateral, (5, 7))
        medial, lateral = np.array([[side * 20, 68, -22], [side * 135, -6, 24]]) * size
        pen.rod(medial, lateral, (5.5, 5.5))
        pen.ball(np.array([side * 158, -6, -5]) * size, np.full(3, 24 * size))


def skull_frame(scene: Scene) -> Frame:
    """Frame at the atlas in the head's own axes."""
    return scene.subject.vertebrae["C1"].frame.turned(rotation("x", scene.landmarks.skull_pitch))


def draw_skull(field: DistanceField, scene: Scene) -> None:
    """Draw the cranial vault as a shell, its base, condyles, mastoids and jaws."""
    size = scene.subject.size
    frame = skull_frame(scene)
    thickness = 7.0
    vault = ellipsoid(
        field.grid, frame.shifted(np.array([0, 18, 78]) * size), np.array([72, 92, 68]) * size
    )
    if vault is not None:
        shell = np.abs(vault.distance + thickness / 2) - thickness / 2
        field.add(vault._replace(distance=shell.astype(np.float32)), OTHER_BONE)
    pen = BonePen(field, frame, OTHER_BONE)
    pen.ball(np.array([0, 12, 17]) * size, np.array([46, 38, 7]) * size)
    pen.ball(np.array([0, 66, 2]) * size, np.array([28, 26, 10]) * size)
    for side in _SIDES:
        pen.ball((side * 17, 0, 11), (7, 11, 6))
        pen.ball((side * 50 * size, 2, 12 * size), (12, 14, 16))
        joint, angle, chin = (
            np.array([[side * 46, 30, 8], [side * 42, 40, -34], [side * 10, 88, -42]]) * size
        )
        pen.rod(joint, angle, (5, 6), (0.8, 1.6, 1))
        pen.rod(angle, chin, (6, 6), (1, 1, 1.8))


def draw_sacrum(field: DistanceField, subject: Subject) -> None:
    """Draw five fused segments with their lateral parts and crest, and the coccyx."""
    size = subject.size
    sizes = ((50, 31, 29), (40, 24, 25), (33, 18, 21), (28, 14, 18), (22, 10, 16))
    wing_x = (46, 40, 30, 22, 16)
    bend = (4, 2, -20, -25, -25)
    top = subject.sacrum
    for index, (width, depth, height) in enumerate(sizes):
        frame = top.shifted((0, 0, -height * size / 2))
        pen = BonePen(field, frame, SACRUM)
        overlap = 2.0 if index else 0.0
        field.add(
            vertebral_body(
                field.grid, _sacral_segment(frame, width, depth, height + overlap, size)
            ),
            SACRUM,
        )
        for side in _SIDES:
            wing = (side * wing_x[index] * size, -9, -2)
            pen.rod(
                (side * 0.42 * width, -3, 0), wing, (0.46 * height, 0.36 * height), (1, 0.75, 1)
            )
        back = -depth / 2 - 8
        pen.rod((0, back, 0), (0, back - 9 + 2 * index, 0), (4, 4), (1, 1, 2.2))
        top = top.shifted((0, 0, -height * size)).turned(rotation("x", -bend[index]))
    BonePen(field, top, OTHER_BONE).rod((0, 0, -3), (0, 4, -25), (6, 3))


def _sacral_segment(
    frame: Frame, width: float, depth: float, height: float, size: float
) -> Vertebra:
    """Body of a sacral segment, as a vertebra without an arch."""
    return Vertebra(
        name="L5",
        frame=frame,
        body_width=width * size,
        body_depth=depth * size,
        posterior_height=height * size,
        anterior_height=height * size,
        middle_height=height * size - 2,
        disc_height=0,
        canal_width=0,
        canal_depth=0,
        transverse_width=0,
        spinous_length=0,
        spinous_angle=0,
        pedicle_width=0,
        pedicle_height=0,
        lordosis=0,
        trabecular_hu=0,
    )


def draw_pelvis(field: DistanceField, scene: Scene) -> None:
    """Draw iliac wings, sacroiliac bone and femoral heads."""
    subject = scene.subject
    size = subject.size
    centre = Frame(subject.sacrum.origin, subject.axes).shifted(
        np.array([0, -18, -30]) * size + (0, 0, scene.landmarks.pelvis_shift)
    )
    for side in _SIDES:
        wing = centre.shifted(np.array([side * 88, 32, 8]) * size)
        wing = wing.turned(rotation("z", side * 32) @ rotation("y", side * 22))
        field.add(ellipsoid(field.grid, wing, np.array([6.5, 66, 66]) * size), OTHER_BONE)
        start, end = np.array([[side * 48, -18, 22], [side * 72, 10, -45]]) * size
        field.add(capsule(field.grid, centre, start, end, (12 * size, 15 * size)), OTHER_BONE)
        head = centre.shifted(np.array([side * 92, 40, -75]) * size)
        field.add(ellipsoid(field.grid, head, np.full(3, 26 * size)), OTHER_BONE)


def draw_skeleton(rng: np.random.Generator, field: DistanceField, scene: Scene) -> None:
    """Draw all bones beside the vertebrae, omitted ones excepted. The sacrum is always drawn."""
    omit = scene.settings.omit
    draw_sacrum(field, scene.subject)
    if "ribs" not in omit:
        draw_ribcage(rng, field, scene.subject)
    if "shoulders" not in omit:
        draw_shoulders(field, scene)
    if "skull" not in omit:
        draw_skull(field, scene)
    if "pelvis" not in omit:
        draw_pelvis(field, scene)
