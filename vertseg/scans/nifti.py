"""NIfTI files: the reader of CTs and label maps, and the writer of all volumes."""

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from scipy.ndimage import affine_transform

from vertseg.anatomy.labels import UNANNOTATED
from vertseg.anatomy.schemes import VERSE, LabelScheme
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.logs import logger
from vertseg.scans.mask_folders import load_mask_folder
from vertseg.scans.volumes import (
    Geometry,
    Volume,
    canonical_volume,
    checked_affine,
    checked_shape,
    finite_hu,
    native_array,
    same_grid,
)

_SLAB_VOXELS = 1 << 23
"""Voxels read and scaled at a time."""
_LISTED_VALUES = 30
"""Most unknown values of a mask that a message lists."""


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT: 3-D, real-valued HU; voxels that are not finite become air.

    Raises:
        UserError: the file is missing, unreadable, truncated, not a 3-D grey-value image, or has
            no usable geometry.
    """
    path = Path(path)
    array, geometry = _load(path)
    return canonical_volume(finite_hu(array, path), geometry)


def load_mask(path: str | os.PathLike[str], ct: Geometry, scheme: LabelScheme = VERSE) -> Volume:
    """Read a label map as VerSe's values, uint8, on the grid of its CT, given by its geometry.

    A mask with another number of voxels is resampled onto the CT's grid (nearest neighbour) with
    a warning. A folder of binary masks (`vertseg.scans.mask_folders`) needs no scheme.

    Raises:
        UserError: as for `load_ct`; also values that are not whole numbers or not in the scheme,
            a mask of its CT's shape in another place, or one whose vertebrae all lie outside it.
    """
    path = Path(path)
    if path.is_dir():
        array, geometry = load_mask_folder(path, lambda file: _load(file)[:2])
    else:
        array, geometry = _load(path)
        array = _verse_labels(array, path, scheme)
    mask = canonical_volume(array, geometry)
    if same_grid(geometry, ct):
        on_ct = np.ascontiguousarray(mask.array)
    else:
        _check_place(path, geometry, ct)
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
            np.round(voxel_sizes(ct.canonical_affine), 3).tolist(),
        )
    return Volume(on_ct, ct.canonical_affine, ct)


def save_mask(
    path: str | os.PathLike[str], mask: np.ndarray, native: Geometry, notice: str = ""
) -> None:
    """Write a canonical label map (x, y, z) on the grid of its CT, as uint8, atomically.

    A notice of up to 79 characters goes into the header's description.
    """
    stored = native_array(mask.astype(np.uint8, copy=False), native)
    write_nifti(path, stored, native, notice=notice)


def write_nifti(
    path: str | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    *,
    notice: str = "",
    level: int = 1,
    noisy: bool = False,
) -> None:
    """Write a compressed NIfTI file (.nii.gz) atomically; the same voxels give the same bytes.

    Args:
        path: the file.
        array: voxels (i, j, k) as stored, in the order of the geometry's axes.
        geometry: the grid on disk; an sform of code 0 is written with code 1.
        notice: up to 79 characters for the header's description.
        level: of the compression, 1 (fast) to 9 (small).
        noisy: run-length coding alone, as string matching gains little on noise.
    """
    image = nib.Nifti1Image(np.ascontiguousarray(array), geometry.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = notice
    image.set_sform(geometry.affine, max(geometry.sform_code, 1))
    image.set_qform(geometry.affine, geometry.qform_code, strip_shears=True)
    with atomic_path(path) as temporary:
        if noisy:
            temporary.write_bytes(_run_length_coded(image.to_bytes(), level))
            return
        with (
            temporary.open("wb") as file,
            gzip.GzipFile("", "wb", level, fileobj=file, mtime=0) as packer,
        ):
            image.to_stream(packer)


def _run_length_coded(content: bytes, level: int) -> bytes:
    """Content in gzip's format, without a time stamp."""
    gzip_header = 16 + zlib.MAX_WBITS
    packer = zlib.compressobj(level, zlib.DEFLATED, gzip_header, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(content) + packer.flush()


def _load(path: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels (i, j, k) in stored order, scl_slope applied, and geometry of a 3-D NIfTI file."""
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
    if len(unknown) > _LISTED_VALUES:
        return (
            f"{path}: {len(unknown)} different values that name no vertebra, from {unknown[0]} to "
            f"{unknown[-1]}. If this is a CT, name the mask in its place; if another tool's mask, "
            "state its label scheme (docs/own_data.md)."
        )
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


def _check_place(path: Path, mask: Geometry, ct: Geometry) -> None:
    """Refuse a mask that has its CT's shape but another affine: its header was lost or changed."""
    if mask.shape == ct.shape or mask.canonical_shape == ct.canonical_shape:
        raise UserError(
            f"{path}: the mask has the shape of its CT, {ct.shape}, but another affine. The "
            f"mask's is {_rows(mask.affine)}, the CT's {_rows(ct.affine)}. Another program lost or "
            "changed the header: if the voxels are the CT's, save the mask with the CT's affine; "
            "if not, check the pairing of CT and mask."
        )


def _rows(affine: np.ndarray) -> str:
    """The upper three rows of an affine on one line."""
    rows = (" ".join(f"{number:.4g}" for number in row) for row in affine[:3])
    return f"[{'; '.join(rows)}]"


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
