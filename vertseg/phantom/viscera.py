"""Lungs, organs, great vessels, airway and bowel."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.landmarks import ORGANS
from vertseg.phantom.raster import DistanceField, Patch, ellipsoid
from vertseg.phantom.scene import Scene
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.skeleton import chest_rings
from vertseg.phantom.tissue import Canvas

LUNG_HU, AIRWAY_HU, BLOOD_HU = -850.0, -950.0, 42.0
_CAVAL_CONTRAST_HU = 120
_CUPOLA_MM = 75.0
_CHEST_WALL_MM = 9.0
_DIAPHRAGM_DOME_MM = 55.0
_COSTOPHRENIC_RECESS_MM = 45.0


@dataclass(frozen=True)
class VisceraLook:
    """Peculiarities of a patient's organs.

    Attributes:
        added_hu: attenuation added, by organ or vessel.
        bowel_contrast_hu: attenuation added to the bowel's fluid.
        plaques: rows (along the aorta 0 to 1, angle in radians, radius in mm, HU) of calcium.
    """

    added_hu: dict[str, float]
    bowel_contrast_hu: float
    plaques: Floats


def sample_viscera_look(rng: np.random.Generator, settings: PhantomSettings) -> VisceraLook:
    """Sample attenuation of organs, oral contrast and calcium in the aorta's wall."""
    added = rng.normal(0, 1, len(ORGANS)) * settings.organ_sd_hu
    has_contrast, has_plaques = rng.random(2) < (
        settings.oral_contrast_share,
        settings.calcified_share,
    )
    count = int(rng.integers(4, 40)) if has_plaques else 0
    return VisceraLook(
        dict(zip(ORGANS, added.tolist(), strict=True)),
        float(rng.uniform(100, 500)) if has_contrast else 0.0,
        rng.uniform((0, 0, 1.5, 400), (1, 2 * np.pi, 5, 1300), (count, 4)),
    )


def fill_lungs(canvas: Canvas, scene: Scene) -> None:
    """Paint both lungs: the inside of the ribcage without mediastinum and paravertebral tissue.

    A lung narrows to a cupola below its apex and ends on the diaphragm's dome, which falls off
    towards the chest wall and the back.
    """
    subject, landmarks = scene.subject, scene.landmarks
    x, y, z = canvas.grid.axes
    lowest = min(landmarks.diaphragm_z) - _DIAPHRAGM_DOME_MM - _COSTOPHRENIC_RECESS_MM
    first, last = np.searchsorted(z, [lowest, max(landmarks.lung_apex_z)])
    if first >= last:
        return
    slices = slice(int(first), int(last))
    z = z[slices]
    spine_x, spine_y = canvas.spine.x[slices], canvas.spine.y[slices]
    rings = sorted(chest_rings(subject).values(), key=lambda ring: ring.centre[2])
    ring_z = [ring.centre[2] for ring in rings]
    half_width = np.interp(z, ring_z, [ring.half_width for ring in rings]) - _CHEST_WALL_MM
    half_depth = np.interp(z, ring_z, [ring.half_depth for ring in rings]) - _CHEST_WALL_MM
    centre_y = np.interp(z, ring_z, [ring.centre[1] for ring in rings])
    right = _slicewise(x[:, None] - spine_x, 0)
    forward = _slicewise(y[:, None] - centre_y, 1)
    from_spine = _slicewise(y[:, None] - spine_y, 1)
    chest = (right / _per_slice(half_width)) ** 2 + (forward / _per_slice(half_depth)) ** 2

    below_apex = np.clip((subject.height("T3") - z) / 80, 0, 1.2)
    mediastinum_half_width = (26 + 16 * below_apex) * subject.size
    before_spine = np.clip((from_spine - 8) / 20, 0, 1)
    mediastinum = np.abs(right + 6) < _per_slice(mediastinum_half_width) * before_spine
    beside_spine = (canvas.spine_distance[:, :, slices] < 23 * subject.size) | (
        (np.abs(right) < 30 * subject.size) & (from_spine < -10)
    )
    inside = (chest < 1) & ~mediastinum & ~beside_spine & canvas.body[:, :, slices]

    towards_back = np.clip(-forward / _per_slice(half_depth), 0, 1)
    base_drop = _DIAPHRAGM_DOME_MM * chest + _COSTOPHRENIC_RECESS_MM * towards_back
    for side, apex, dome in zip((-1, 1), landmarks.lung_apex_z, landmarks.diaphragm_z, strict=True):
        depth_below_apex = np.clip((apex - z) / _CUPOLA_MM, 0.001, 0.999)
        cupola = np.sqrt(depth_below_apex / (1 - depth_below_apex))
        lateral = (right - side * _per_slice(0.5 * half_width)) / _per_slice(
            0.55 * half_width * cupola
        )
        sagittal = (forward + _per_slice(0.15 * half_depth)) / _per_slice(
            0.95 * half_depth * cupola
        )
        lung = (
            inside
            & (right * side > 0)
            & (lateral**2 + sagittal**2 < 1)
            & (z < apex)
            & (z > dome - base_drop)
        )
        canvas.hu[:, :, slices][lung] = LUNG_HU + 40 * canvas.texture[:, :, slices][lung]


def _slicewise(values: Floats, axis: int) -> Floats:
    """Values (n, z) along x (axis 0) or y (axis 1), shaped for broadcasting over (x, y, z)."""
    values = values.astype(np.float32)
    return values[:, None, :] if axis == 0 else values[None, :, :]


def _per_slice(values: Floats) -> Floats:
    """Values (z,) as float32, which broadcast over (x, y, z)."""
    return values.astype(np.float32)


def fill_organs(rng: np.random.Generator, canvas: Canvas, scene: Scene, look: VisceraLook) -> None:
    """Paint liver (right), spleen and heart (left), kidneys and bowel."""
    subject, contrast = scene.subject, scene.contrast
    breadth = np.sqrt(subject.girth)
    organs = (
        ("liver", "T11", (75 * breadth, 55, -5), (70, 72, 75), 110 if contrast else 58),
        ("spleen", "T11", (-85 * breadth, 15, -5), (32, 45, 50), 115 if contrast else 48),
        ("left kidney", "L2", (-62, 0, 8), (26, 24, 55), 170 if contrast else 32),
        ("right kidney", "L2", (62, 0, 0), (26, 24, 55), 170 if contrast else 32),
        ("heart", "T7", (-22, 78, -5), (52, 46, 55), 140 if contrast else 42),
    )
    for organ, level, offset, semi_axes, hu in organs:
        frame = subject.at(level, offset).shifted((0, 0, scene.landmarks.organ_shift[organ]))
        organ_patch = ellipsoid(canvas.grid, frame, np.array(semi_axes) * subject.size)
        canvas.paint(organ_patch, hu + look.added_hu[organ])
    for _ in range(rng.integers(3, 9)):
        level = str(rng.choice(["L1", "L2", "L3", "L4"]))
        loop = subject.at(level, rng.uniform((-90, 55, -30), (90, 110, 30)))
        content_hu = float(rng.choice([-900, -900, 30]))
        if content_hu > 0:
            content_hu += look.bowel_contrast_hu
        canvas.paint(ellipsoid(canvas.grid, loop, rng.uniform(8, 26, 3)), content_hu)


def fill_vessels(rng: np.random.Generator, canvas: Canvas, scene: Scene, look: VisceraLook) -> None:
    """Paint descending aorta (left of the spine), inferior vena cava (right) and airway."""
    subject, shift = scene.subject, scene.landmarks.organ_shift
    aortic_hu, caval_hu = BLOOD_HU, BLOOD_HU
    if scene.contrast:
        aortic_hu, caval_hu = rng.uniform(*scene.settings.aortic_contrast_hu), _CAVAL_CONTRAST_HU
    before_body = {
        level: vertebra.body_depth / 2 + 9 for level, vertebra in subject.vertebrae.items()
    }
    aorta = {
        level: (-20 + 2.2 * index, before_body[level] + index, shift["aorta"])
        for index, level in enumerate(("T4", "T6", "T8", "T10", "L1", "L2", "L4"))
    }
    cava = {
        level: (17, before_body[level] + 3, shift["vena cava"])
        for level in ("T10", "L1", "L3", "L4")
    }
    airway = {"C2": (0, 26, 0), "C4": (0, 26, 0), "C6": (0, 25, 0), "T1": (0, 28, 0)}
    bifurcation = {"T4": (0, 32, shift["heart"])}
    for course, radius, hu in (
        (aorta, 11.5, aortic_hu + look.added_hu["aorta"]),
        (cava, 11.0, caval_hu + look.added_hu["vena cava"]),
        (airway | bifurcation, 7.0, AIRWAY_HU),
    ):
        points = [subject.at(level, offset).origin for level, offset in course.items()]
        tube = _vessel(scene, np.array(points), radius * subject.size)
        canvas.paint(tube, hu, texture_hu=3)
        if course is aorta:
            _draw_plaques(look.plaques, canvas, np.array(points), radius * subject.size)


def _draw_plaques(plaques: Floats, canvas: Canvas, course: Floats, radius: float) -> None:
    """Paint calcium in the wall of an aorta whose axis passes through world points (n, 3)."""
    along = np.linspace(0, 1, len(course))
    for place, angle, size, hu in plaques:
        centre = np.array([np.interp(place, along, course[:, axis]) for axis in range(3)])
        centre[:2] += radius * np.array([np.cos(angle), np.sin(angle)])
        plaque = ellipsoid(canvas.grid, Frame(centre, np.eye(3)), (size, size, 2 * size))
        canvas.paint(plaque, hu, 50)


def _vessel(scene: Scene, points: Floats, radius: float) -> Patch | None:
    """A tube of constant radius in mm along a smooth curve through world points (n, 3)."""
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    curve = CubicSpline(along, points)(np.arange(0, along[-1], 12.0))
    visible = (curve[:, 2] > scene.view.bottom - 20) & (curve[:, 2] < scene.view.top + 20)
    curve = curve[visible]
    if len(curve) < 2:
        return None
    grid = scene.grid
    region = grid.region(
        (curve.min(axis=0) + curve.max(axis=0)) / 2, np.ptp(curve, axis=0) / 2 + radius + 2
    )
    if region is None:
        return None
    field = DistanceField(grid)
    field.add_tube(curve, radius, 1, (1, 1, 1))
    return Patch(region, field.distance[region])


def fill_viscera(rng: np.random.Generator, canvas: Canvas, scene: Scene, look: VisceraLook) -> None:
    """Paint all soft structures of chest and abdomen, omitted ones excepted."""
    omit = scene.settings.omit
    if "lungs" not in omit:
        fill_lungs(canvas, scene)
    if "organs" not in omit:
        fill_organs(rng, canvas, scene, look)
    if "vessels" not in omit:
        fill_vessels(rng, canvas, scene, look)
