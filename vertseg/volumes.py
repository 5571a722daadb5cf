"""CT scans and label maps on disk: NIfTI in, canonical RAS+ arrays inside, the native grid out.

Inside the package a volume's axes are (x, y, z): left to Right, posterior to Anterior, inferior to
Superior. Only axes are permuted and flipped, voxels keep their values, so an oblique scan stays
oblique and the way back is exact.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from scipy.ndimage import affine_transform

from vertseg.errors import UserError
from vertseg.files import atomic_path
from vertseg.labels import BACKGROUND
from vertseg.logs import logger
from vertseg.schemes import VERSE, LabelScheme

AIR_HU = -1024
GRID_TOLERANCE_VOXEL = 0.1
UNANNOTATED = {26: "sacrum", 27: "coccyx"}

_SLAB_VOXELS = 1 << 23

_RAS = axcodes2ornt(("R", "A", "S"))


@dataclass(frozen=True)
class Geometry:
    """A voxel grid as stored on disk: shape, affine (voxel to RAS+ mm) and NIfTI's frame codes."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    sform_code: int = 1
    qform_code: int = 1

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
    """

    array: np.ndarray
    affine: np.ndarray
    native: Geometry

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size (x, y, z) in mm."""
        return voxel_size_mm(self.affine)


def voxel_size_mm(affine: np.ndarray) -> np.ndarray:
    """Lengths in mm of the three voxel edges of an affine."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT: 3-D, real-valued HU; voxels that are not finite become air.

    Raises:
        UserError: the file is missing, unreadable, truncated, not a 3-D grey-value image, or has
            no usable geometry.
    """
    path = Path(path)
    array, geometry = _load(path)
    return canonical_volume(finite_hu(array, path), geometry)


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


def load_mask(path: str | os.PathLike[str], ct: Geometry, scheme: LabelScheme = VERSE) -> Volume:
    """Read a label map as VerSe's values, uint8, on the grid of its CT, given by its geometry.

    A mask on another grid is resampled onto the CT's (nearest neighbour) with a warning.

    Raises:
        UserError: as for `load_ct`; also values that are no whole numbers or not in the scheme,
            or a mask whose vertebrae all lie outside its CT.
    """
    path = Path(path)
    array, geometry = _load(path)
    mask = canonical_volume(_verse_labels(array, path, scheme), geometry)
    if same_grid(geometry, ct):
        on_ct = np.ascontiguousarray(mask.array)
    else:
        on_ct = _resample_nearest(mask, ct)
        if mask.array.any() and not on_ct.any():
            raise UserError(
                f"{path}: the mask lies outside its CT (another patient or a lost header?). "
                "Check the pairing of CT and mask in the sample sheet."
            )
        logger.warning(
            "%s: the mask's grid (shape %s, spacing %s mm) is not its CT's (shape %s, "
            "spacing %s mm); resampled onto the CT.",
            path,
            geometry.canonical_shape,
            np.round(mask.spacing_mm, 3).tolist(),
            ct.canonical_shape,
            np.round(voxel_size_mm(ct.canonical_affine), 3).tolist(),
        )
    return Volume(on_ct, ct.canonical_affine, ct)


def labels_present(label_map: np.ndarray) -> list[int]:
    """Values other than background of a label map of any shape, in numerical order."""
    return [int(label) for label in np.unique(label_map) if label != BACKGROUND]


def save_mask(
    path: str | os.PathLike[str], mask: np.ndarray, native: Geometry, notice: str = ""
) -> None:
    """Write a canonical label map (x, y, z) on the grid of its CT, as uint8 NIfTI, atomically.

    A notice of up to 79 characters goes into the header's description.
    """
    stored = native_array(mask.astype(np.uint8, copy=False), native)
    image = nib.Nifti1Image(np.ascontiguousarray(stored), native.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = notice
    image.set_sform(native.affine, max(native.sform_code, 1))
    image.set_qform(native.affine, native.qform_code, strip_shears=True)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def native_array(array: np.ndarray, native: Geometry) -> np.ndarray:
    """A canonical array (x, y, z) in the order of its grid on disk; the voxels are not copied.

    Raises:
        ValueError: the array does not fit the grid.
    """
    stored = apply_orientation(array, ornt_transform(_RAS, io_orientation(native.affine)))
    if stored.shape != native.shape:
        raise ValueError(f"label map of shape {stored.shape} does not fit {native.shape}")
    return stored


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids' voxels coincide in canonical axes, to a tenth of a voxel."""
    if one.canonical_shape != other.canonical_shape:
        return False
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(one.canonical_shape) - 1)
    shift_mm = np.abs(
        apply_affine(one.canonical_affine, corners) - apply_affine(other.canonical_affine, corners)
    )
    return bool(shift_mm.max() <= GRID_TOLERANCE_VOXEL * voxel_size_mm(one.affine).min())


def _load(path: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels as stored (scl_slope applied) and geometry of a 3-D NIfTI file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Check the path.")
    try:
        image = nib.load(path, mmap=False, keep_file_open=True)
        if not isinstance(image, nib.Nifti1Pair):
            raise UserError(f"{path}: not a NIfTI file. Convert it to .nii.gz first.")
        if image.get_data_dtype().names is not None:
            raise UserError(f"{path}: a colour image, not a CT. Convert the original series.")
        if np.issubdtype(image.get_data_dtype(), np.complexfloating):
            raise UserError(f"{path}: complex values, not a CT.")
        shape = checked_shape(image.shape, path)
        array = _voxels(image, shape)
    except (ImageFileError, EOFError, OSError, ValueError, zlib.error) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). It may be truncated: copy or download it again."
        ) from error
    geometry = Geometry(
        shape,
        checked_affine(image.affine, path),
        int(image.header["sform_code"]),
        int(image.header["qform_code"]),
    )
    if geometry.sform_code == geometry.qform_code == 0:
        logger.warning("%s: the header states no orientation; NIfTI's default is assumed.", path)
    return array, geometry


def _voxels(image: nib.Nifti1Pair, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels with scl_slope applied: integers where that is exact, else float32.

    They are read slab by slab: nibabel would hold a compressed file's voxels twice, and scale all
    of them at once in float64.
    """
    proxy: Any = image.dataobj
    scaling = (float(proxy.slope), float(proxy.inter))
    stored = np.dtype(proxy.dtype).newbyteorder("=")
    if stored.kind not in "iu" or not all(number.is_integer() for number in scaling):
        voxels = np.empty(shape, np.float32, order="F")
    else:
        voxels = np.empty(shape, stored if scaling == (1, 0) else np.int16, order="F")
    step = max(1, _SLAB_VOXELS // (shape[0] * shape[1]))
    for start in range(0, shape[2], step):
        slab = np.asanyarray(proxy[:, :, start : start + step])
        slab = slab.reshape(voxels[..., start : start + step].shape)
        if slab.dtype != stored and voxels.dtype == np.int16 and not _fits_int16(slab):
            voxels = voxels.astype(np.float32)
        voxels[..., start : start + step] = slab
    return voxels


def _fits_int16(values: np.ndarray) -> bool:
    limits = np.iinfo(np.int16)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def checked_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The three sides of an image that is one volume; further axes of length one are dropped.

    Raises:
        UserError: it is two-dimensional, a series of volumes, or one voxel thick.
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
    """An affine that has an inverse.

    Raises:
        UserError: it has none.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if np.isfinite(affine).all() and voxel_size_mm(affine).all():
        directions = affine[:3, :3] / voxel_size_mm(affine)
        if abs(np.linalg.det(directions)) > 0.1:
            return affine
    raise UserError(
        f"{path}: the header's affine is singular or not finite, so orientation and voxel size "
        "are unknown. Convert the original series again."
    )


def canonical_volume(array: np.ndarray, geometry: Geometry) -> Volume:
    """A volume of an array as stored; the voxels are not copied."""
    canonical = apply_orientation(array, geometry.to_canonical)
    return Volume(canonical, geometry.canonical_affine, geometry)


def _verse_labels(array: np.ndarray, path: Path, scheme: LabelScheme) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        whole = np.rint(array)
        if not np.isfinite(array).all() or np.abs(array - whole).max() > 1e-3:
            raise UserError(f"{path}: label values are not whole numbers. Export the mask again.")
        array = whole
    values = [int(value) for value in np.unique(array)]
    unknown = [value for value in values if value not in scheme]
    if unknown:
        raise UserError(_unknown_values(path, unknown, scheme))
    table = np.zeros(max(values, default=0) + 1, np.uint8)
    table[values] = [scheme[value] for value in values]
    return table[array.astype(np.intp, copy=False)]


def _unknown_values(path: Path, unknown: list[int], scheme: LabelScheme) -> str:
    if scheme is not VERSE:
        return (
            f"{path}: label values that its label scheme does not list: "
            f"{', '.join(map(str, unknown))}. Name their vertebra there, or background."
        )
    named = ", ".join(
        f"{value} ({UNANNOTATED[value]})" if value in UNANNOTATED else str(value)
        for value in unknown
    )
    return (
        f"{path}: label values outside VerSe's scheme: {named}. Allowed are 0, 1-25 (C1-L6) and "
        "28 (T13). If another tool wrote the mask, state its label scheme (docs/own_data.md)."
    )


def _resample_nearest(mask: Volume, ct: Geometry) -> np.ndarray:
    ct_to_mask_voxel = np.linalg.inv(mask.affine) @ ct.canonical_affine
    return affine_transform(
        mask.array,
        ct_to_mask_voxel[:3, :3],
        ct_to_mask_voxel[:3, 3],
        output_shape=ct.canonical_shape,
        order=0,
        mode="grid-constant",
        cval=0,
    )
