"""Volumes: canonical RAS+ arrays with the geometry that they have on disk.

Inside the package a volume's axes are (x, y, z): left to Right, posterior to Anterior, inferior to
Superior. Only axes are permuted and flipped, voxels keep their values, so an oblique scan stays
oblique and the way back is exact.
"""

import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from vertseg.core.errors import UserError
from vertseg.core.logs import logger

AIR_HU = -1024
"""HU of air, and lower bound of all CTs."""
GRID_TOLERANCE_VOXEL = 0.1
"""Largest distance between corresponding voxels of two grids that count as the same."""

_RAS = axcodes2ornt(("R", "A", "S"))


LONGEST_MM = 3000.0
"""Largest extent of a scan along an axis; tables of CT scanners move by 2 m."""
WIDEST_MM = 1500.0
"""Largest extent of a scan along its two shorter axes; gantries are 0.9 m wide."""
MOST_BYTES = 16 << 30
"""Largest size of a scan's voxels as stored: 512 x 512 x 8000 in double precision."""


@dataclass(frozen=True)
class Geometry:
    """A voxel grid as stored on disk, with the fields of a NIfTI header that masks take over.

    Attributes:
        shape: voxels (i, j, k).
        affine: voxel to RAS+ mm, by the transform that counts (docs/inputs.md).
        sform_code: code of the sform; 0 if it states nothing.
        qform_code: code of the qform; 0 if it states nothing.
        sform: srow_x, srow_y, srow_z (3, 4) as stored; None where they are the affine's.
        qform: pixdim[0:4], quatern_b to quatern_d and qoffset_x to qoffset_z (10,) as stored; None
            where they are the affine's.
        xyzt_units: code of the units of space and time; 2 is mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    sform_code: int = 1
    qform_code: int = 1
    sform: np.ndarray | None = None
    qform: np.ndarray | None = None
    xyzt_units: int = 2

    @property
    def to_canonical(self) -> np.ndarray:
        """Nibabel orientation transform from the stored axes to RAS+."""
        return ornt_transform(io_orientation(self.affine), _RAS)

    @property
    def canonical_affine(self) -> np.ndarray:
        """Affine of the array once its axes are in RAS+ order."""
        return self.affine @ inv_ornt_aff(self.to_canonical, self.shape)

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Shape of the array once its axes are in RAS+ order."""
        order = np.argsort(self.to_canonical[:, 0])
        x, y, z = (int(self.shape[int(axis)]) for axis in order)
        return x, y, z


@dataclass(frozen=True)
class Volume:
    """An image in canonical RAS+ axes, with the geometry it had on disk.

    Attributes:
        array: voxels (x, y, z); HU for a CT, VerSe values for a label map.
        affine: voxel of `array` to RAS+ mm.
        native: the grid as stored.
        remarks: doubts about the header, in plain words; they become warnings of a prediction.
    """

    array: np.ndarray
    affine: np.ndarray
    native: Geometry
    remarks: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size (x, y, z) in mm."""
        return voxel_sizes(self.affine)


def finite_hu(array: np.ndarray, path: Path) -> np.ndarray:
    """Voxels as integers or float32; those that are not finite become air, in the same array.

    Raises:
        UserError: no voxel is finite.
    """
    if np.issubdtype(array.dtype, np.integer):
        return array
    array = array.astype(np.float32, copy=False)
    bad = ~np.isfinite(array)
    if bad.all():
        raise UserError(f"{path}: no voxel holds a finite number. Export the scan again.")
    if bad.any():
        logger.warning("%s: %d voxels are not finite; read as air.", path, bad.sum())
        array[bad] = AIR_HU
    return array


def native_array(array: np.ndarray, native: Geometry) -> np.ndarray:
    """A canonical array (x, y, z) in the order of its grid on disk; the voxels are not copied.

    Raises:
        ValueError: the array does not fit the grid.
    """
    stored = apply_orientation(array, ornt_transform(_RAS, io_orientation(native.affine)))
    if stored.shape != native.shape:
        raise ValueError(f"label map of shape {stored.shape} does not fit {native.shape}")
    return stored


def blank_labels(native: Geometry) -> np.ndarray:
    """An empty label map (x, y, z) uint8 in canonical axes, in memory as a file on disk has it.

    A scan that was read has the same order, in which its voxels are looked at together with these.
    """
    # Numpy would ask for huge pages, all of which a spine needs; of small ones a third.
    memory = mmap.mmap(-1, math.prod(native.shape), access=mmap.ACCESS_COPY)
    stored = np.ndarray(native.shape, np.uint8, memory, order="F")
    return apply_orientation(stored, native.to_canonical)


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids' voxels coincide in canonical axes, to a tenth of a voxel."""
    if one.canonical_shape != other.canonical_shape:
        return False
    shift = shift_mm(one.canonical_affine, other.canonical_affine, one.canonical_shape)
    return bool(shift <= GRID_TOLERANCE_VOXEL * voxel_sizes(one.affine).min())


def shift_mm(one: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance along an axis between the voxels of a grid placed by two affines."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    return float(np.abs(apply_affine(one, corners) - apply_affine(other, corners)).max())


def checked_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The three sides of an image that is one volume; further axes of length one are dropped.

    Raises:
        UserError: the image is two-dimensional, a series of volumes, or one voxel thick.
    """
    sides = shape[:3] if len(shape) > 3 and max(shape[3:]) == 1 else shape
    if len(sides) != 3 or min(sides) < 2:
        raise UserError(
            f"{path}: shape {tuple(shape)} is not one 3-D volume. "
            "Give a single volume with at least two voxels along every axis."
        )
    x, y, z = (int(side) for side in sides)
    return x, y, z


def checked_affine(affine: np.ndarray, path: Path) -> np.ndarray:
    """An affine in double precision, checked to have an inverse.

    Raises:
        UserError: the affine is singular or not finite.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if np.isfinite(affine).all() and voxel_sizes(affine).all():
        directions = affine[:3, :3] / voxel_sizes(affine)
        if abs(np.linalg.det(directions)) > 0.1:
            return affine
    raise UserError(
        f"{path}: the header's affine is singular or not finite, so orientation and voxel size "
        "are unknown. Convert the original series again."
    )


def check_extent(shape: tuple[int, int, int], affine: np.ndarray, path: Path) -> None:
    """Refuse grids that no patient fills, before memory is asked for.

    Raises:
        UserError: the scan is too long or wide.
    """
    spacing = voxel_sizes(affine)
    extent = spacing * shape
    if extent.max() > LONGEST_MM or np.sort(extent)[1] > WIDEST_MM:
        raise UserError(
            f"{path}: voxels of {_product(spacing)} mm and an extent of {_product(extent)} mm are "
            "not those of a patient. The header may be damaged, or state other units than mm: "
            "convert the original series again."
        )


def check_size(count: int, itemsize: int, path: Path) -> None:
    """Refuse more voxels than a scan has, before memory is asked for.

    Args:
        count: number of voxels.
        itemsize: bytes of each as stored.
        path: the file, for the error.

    Raises:
        UserError: the voxels take more than `MOST_BYTES`.
    """
    if count * itemsize > MOST_BYTES:
        raise UserError(
            f"{path}: the header asks for {count} voxels of {itemsize} bytes, over "
            f"{MOST_BYTES >> 30} GiB. It may be damaged: convert the original series again."
        )


def canonical_volume(
    array: np.ndarray, geometry: Geometry, remarks: tuple[str, ...] = ()
) -> Volume:
    """The volume of an array (i, j, k) as stored; the voxels are not copied."""
    canonical = apply_orientation(array, geometry.to_canonical)
    return Volume(canonical, geometry.canonical_affine, geometry, remarks)


def _product(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
