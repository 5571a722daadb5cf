"""From anatomy to CT: bone attenuation, implants, reconstruction kernel, noise."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from vertseg.anatomy.labels import SACRUM
from vertseg.phantom.bones import OTHER_BONE, neural_arch
from vertseg.phantom.degeneration import BoneLook
from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.raster import DistanceField, Grid, capsule, ellipsoid
from vertseg.phantom.scene import Scene
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import Subject, Vertebra
from vertseg.phantom.tissue import Canvas

HU_RANGE = (-1024, 3071)
_OTHER_BONE_HU = 190.0
_TRABECULAR_TEXTURE_HU = 45.0
_CEMENT_HU = 1700.0
_DETAIL_MM = 1.2


def fill_bone(
    rng: np.random.Generator, canvas: Canvas, bones: DistanceField, scene: Scene, look: BoneLook
) -> None:
    """Paint trabecular bone under a cortical rim, blended with its surroundings over a voxel.

    The rim is a voxel wide: the cortex of a vertebral body measures about 0.35 mm, and clinical CT
    shows it at least twice as thick (Silva et al., Bone 1994;15:409-414).
    """
    subject = scene.subject
    voxel = float(canvas.grid.spacing.mean())
    trabecular_of = np.zeros(256, dtype=np.float32)
    for vertebra in subject.vertebrae.values():
        trabecular_of[vertebra.label] = vertebra.trabecular_hu
    trabecular_of[[OTHER_BONE, SACRUM]] = _OTHER_BONE_HU * subject.bone_density
    near = bones.distance < 1
    distance = bones.distance[near]
    texture = rng.standard_normal(distance.size, dtype=np.float32) * _TRABECULAR_TEXTURE_HU
    trabecular = trabecular_of[bones.owner[near]] + texture + 10 * canvas.texture[near]
    if look.added_hu is not None:
        trabecular += look.added_hu[near]
    cortical = rng.uniform(*scene.settings.cortical_hu) * (
        0.6 + 0.4 * min(subject.bone_density, 1.2)
    )
    rim = np.exp(-(((distance + 0.8) / (look.cortical_width * max(1.1, 0.7 * voxel))) ** 2))
    uneven_cortical = np.float32(cortical) * (1 + 0.12 * canvas.texture[near])
    bone = trabecular + (uneven_cortical - trabecular) * rim
    share = np.clip(0.5 - distance / max(0.9, 0.8 * voxel), 0, 1)
    canvas.hu[near] += (bone - canvas.hu[near]) * share


@dataclass(frozen=True)
class Implants:
    """Levels with pedicle screws and rods, and levels with cement."""

    screws: tuple[str, ...]
    cement: tuple[str, ...]


def sample_implants(
    rng: np.random.Generator, levels: list[str], settings: PhantomSettings
) -> Implants:
    """Choose instrumented levels among the visible thoracic and lumbar ones, cranial to caudal."""
    wants_screws = rng.random() < settings.screw_share
    wants_cement = rng.random() < settings.cement_share
    candidates = [level for level in levels if level[0] in "TL"]
    screws: tuple[str, ...] = ()
    if wants_screws and len(candidates) > 1:
        count = min(int(rng.integers(2, 6)), len(candidates))
        start = rng.integers(0, len(candidates) - count + 1)
        screws = tuple(candidates[start : start + count])
    cement = (str(rng.choice(candidates)),) if wants_cement and candidates else ()
    return Implants(screws, cement)


def place_implants(
    rng: np.random.Generator, canvas: Canvas, subject: Subject, implants: Implants
) -> None:
    """Draw the implants; metal adds bright and dark bands along x and y in place of streaks."""
    for level in implants.cement:
        frame = subject.vertebrae[level].frame.shifted(rng.normal(0, 3, 3))
        canvas.paint(ellipsoid(canvas.grid, frame, rng.uniform(5, 11, 3)), _CEMENT_HU, 40)
    if not implants.screws:
        return
    metal = _screws_and_rods(canvas.grid, [subject.vertebrae[name] for name in implants.screws])
    if not metal.any():
        return
    used = np.flatnonzero(metal.any(axis=(0, 1)))
    slices = np.s_[:, :, used[0] : used[-1] + 1]
    share = metal[slices].astype(np.float32)
    streaks = (
        900 * _spread(share, 100, canvas.grid, axis=0)
        - 520 * _spread(share, 30, canvas.grid, axis=0)
        + 260 * _spread(share, 85, canvas.grid, axis=1)
    )
    canvas.hu[slices] += streaks * (1 + 0.8 * canvas.texture[slices])
    canvas.hu[metal] = rng.uniform(2600, HU_RANGE[1])


def _spread(
    share: NDArray[np.float32], width_mm: float, grid: Grid, axis: int
) -> NDArray[np.float32]:
    """Running mean along an axis, applied twice: a triangle of twice `width_mm`."""
    voxels = max(round(width_mm / grid.spacing[axis]), 1)
    once = uniform_filter1d(share, voxels, axis=axis, mode="constant")
    return uniform_filter1d(once, voxels, axis=axis, mode="constant")


def _screws_and_rods(grid: Grid, vertebrae: list[Vertebra]) -> NDArray[np.bool_]:
    """Pedicle screws of 6 mm on both sides and the rods between their heads."""
    field = DistanceField(grid)
    world = Frame(np.zeros(3), np.eye(3))
    for side in (-1, 1):
        heads = []
        for vertebra in vertebrae:
            arch = neural_arch(vertebra)
            entry = (side * 1.08 * arch.pedicle_x, arch.lamina_y - 8, arch.pedicle_z)
            tip = (side * 0.55 * arch.pedicle_x, vertebra.body_depth / 4, 0.6 * arch.pedicle_z)
            field.add(capsule(grid, vertebra.frame, entry, tip, (3.0, 2.6)), 1)
            heads.append(vertebra.frame.to_world(entry))
        for above, below in pairwise(heads):
            field.add(capsule(grid, world, above, below, (2.9, 2.9)), 1)
    return field.distance < 0.3


def acquire(
    rng: np.random.Generator,
    grid: Grid,
    hu: NDArray[np.float32],
    settings: PhantomSettings,
    sharpening: float,
) -> tuple[NDArray[np.int16], float]:
    """Blur anatomy and quantum noise by one reconstruction kernel; add a calibration offset.

    Args:
        rng: source of kernel, noise and offset.
        grid: voxels of the scan.
        hu: anatomy (x, y, z).
        settings: distributions of kernel and noise.
        sharpening: factor on detail of about a millimetre, which is added once more.

    Returns:
        HU (x, y, z) and the calibration offset.
    """
    kernel = np.clip(0.55 / grid.spacing * rng.uniform(*settings.kernel), 0.2, 1.2)
    deviation = rng.uniform(*settings.noise_sd_hu) * (2.5 / grid.spacing.prod()) ** 0.25
    offset = rng.normal(0, 6)
    noise = rng.standard_normal(grid.shape, dtype=np.float32)
    noise *= np.float32(deviation / _white_noise_gain(kernel))
    noise += hu
    ct = gaussian_filter(noise, kernel, truncate=3.0)
    if sharpening:
        ct += np.float32(sharpening) * (ct - gaussian_filter(ct, _DETAIL_MM / grid.spacing))
    ct += np.float32(offset)
    return np.clip(ct, *HU_RANGE, out=ct).astype(np.int16), offset


def _white_noise_gain(kernel: Floats) -> float:
    """Standard deviation of unit white noise after a Gaussian blur, `kernel` (3,) in voxels."""
    offsets = np.arange(-4, 5)
    weights = np.exp(-0.5 * (offsets / kernel[:, None]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return float(np.sqrt((weights**2).sum(axis=1)).prod())
