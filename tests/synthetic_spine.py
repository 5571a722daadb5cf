"""A spine of plain solids whose heights and attenuation are exact, at any angle."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from vertseg.scans.volumes import Geometry, Volume

SOFT_HU, SPONGY_HU, CORTEX_HU = 50, 150, 600
BODY_WIDTH, BODY_DEPTH = 42.0, 32.0
DISC_MM = 9.0


@dataclass(frozen=True)
class Solid:
    """One vertebra: label and heights in mm; the middle is lowered in a parabola.

    It leans forwards and to the right by `tilts_deg`, about its own centre, and lies
    `forwards_mm` before the column's axis.
    """

    label: int
    anterior: float = 26.0
    middle: float = 26.0
    posterior: float = 26.0
    tilts_deg: tuple[float, float] = (0, 0)
    forwards_mm: float = 0.0


def straight_spine(
    solids: list[Solid],
    angles_deg: tuple[float, float, float] = (0, 0, 0),
    spacing_mm: tuple[float, float, float] = (1, 1, 1),
    shift_mm: tuple[float, float, float] = (0, 0, 0),
    spongy_hu: float = SPONGY_HU,
    noise_hu: float = 10,
    blur_mm: float = 0,
) -> tuple[Volume, np.ndarray]:
    """CT and label map of vertebrae stacked from head to foot along one axis.

    Args:
        solids: cranial to caudal.
        angles_deg: of the column about the world's x, y and z axes.
        spacing_mm: of the scan's voxels.
        shift_mm: of the column against the voxels.
        spongy_hu: attenuation of the bodies' inside.
        noise_hu: SD of white noise.
        blur_mm: SD of the scanner's blur.
    """
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    steps = np.array([(s.anterior + s.posterior) / 2 + DISC_MM for s in solids])
    heights = np.cumsum(steps) - steps / 2
    heights = heights.mean() - heights
    half = np.array([45, 70, heights.max() + 25])
    extent = np.abs(turn) @ half
    shape = np.ceil(2 * extent / spacing_mm).astype(int)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -extent + shift_mm
    grid = np.indices(shape, dtype=np.float32).reshape(3, -1)
    local = turn.T.astype(np.float32) @ (grid * np.array(spacing_mm, np.float32)[:, None])
    local += (turn.T @ affine[:3, 3])[:, None].astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    hu = np.full(shape, SOFT_HU, np.float32)
    for solid, height in zip(solids, heights, strict=True):
        near = np.flatnonzero(np.abs(local[2] - height) < 25)
        place = np.array([[0], [solid.forwards_mm], [height]], np.float32)
        forward_deg, right_deg = solid.tilts_deg
        lean = Rotation.from_euler("xy", (-forward_deg, right_deg), degrees=True).as_matrix()
        x, y, z = lean.T.astype(np.float32) @ (local[:, near] - place)
        inside = np.zeros(mask.size, bool)
        inside[near[_vertebra(x, y, z, solid)]] = True
        inside = inside.reshape(shape)
        mask[inside] = solid.label
        box = ndimage.find_objects(inside.astype(np.uint8))[0]
        depth = ndimage.distance_transform_edt(np.pad(inside[box], 1), sampling=spacing_mm)
        depth = depth[1:-1, 1:-1, 1:-1]
        hu[box][inside[box]] = np.where(depth <= 1.5, CORTEX_HU, spongy_hu)[inside[box]]
    hu = ndimage.gaussian_filter(hu, blur_mm / np.array(spacing_mm))
    noise = noise_hu * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    geometry = Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    return Volume((hu + noise).astype(np.int16), affine, geometry), mask


def _vertebra(x: np.ndarray, y: np.ndarray, z: np.ndarray, solid: Solid) -> np.ndarray:
    place = np.clip(2 * y / BODY_DEPTH, -1, 1)
    rims = (solid.anterior + solid.posterior) / 2
    rim = rims + place * (solid.anterior - solid.posterior) / 2
    height = rim - (rims - solid.middle) * (1 - place**2)
    body = (2 * x / BODY_WIDTH) ** 2 + (2 * y / BODY_DEPTH) ** 4 < 1
    body &= np.abs(z) < height / 2
    back = -BODY_DEPTH / 2
    side = np.abs(x)
    pedicles = (side > 11) & (side < 17) & (y > back - 15) & (y < back + 6) & (np.abs(z - 4) < 5)
    lamina = (side < 17) & (np.abs(y - back + 18) < 4) & (np.abs(z) < 9)
    spinous = (side < 3) & (y < back - 18) & (y > back - 45) & (np.abs(z + 3) < 7)
    transverse = (side > 14) & (side < 38) & (np.abs(y - back + 14) < 4) & (np.abs(z - 4) < 4)
    return body | pedicles | lamina | spinous | transverse
