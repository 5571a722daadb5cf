"""NIfTI files: the reader of CTs and label maps, and the writer of all volumes."""

import gzip
import math
import os
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError
from scipy.ndimage import affine_transform

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import labelled_box, labels_present
from vertseg.anatomy.labels import BACKGROUND, SACRUM, UNANNOTATED
from vertseg.anatomy.schemes import VERSE, LabelScheme
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.logs import logger
from vertseg.scans.find import NIFTI, file_suffix
from vertseg.scans.mask_folders import load_mask_folder
from vertseg.scans.streams import (
    GZIP_MARK,
    check_regular,
    errors_named,
    open_stream,
    read_to_end,
)
from vertseg.scans.volumes import (
    GRID_TOLERANCE_VOXEL,
    Geometry,
    Volume,
    canonical_volume,
    check_extent,
    check_size,
    checked_affine,
    checked_shape,
    finite_hu,
    native_array,
    same_grid,
    shift_mm,
)

_SLAB_VOXELS = 1 << 23
"""Voxels read and scaled at a time."""
_LISTED_VALUES = 30
"""Most unknown values of a mask that a message lists."""

_LONGEST_HEADER = 540
"""Bytes of a header of NIfTI-2; one of NIfTI-1 has 348."""

_OTHER_UNITS = {1: "metres", 3: "micrometres"}
"""Codes of NIfTI's units of space other than mm (2) and unknown (0), which counts as mm."""

_ROUNDING_VOXEL = 1e-3
"""Largest distance of voxels by the sform and the qform that single precision leads to."""

_SIZE_TOLERANCE = 0.01
"""Largest relative difference of voxel sizes by the sform and the qform of labelled scans."""


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT: 3-D, real-valued HU; voxels that are not finite become air.

    Raises:
        UserError: the file is missing, unreadable, truncated, not a 3-D grey-value image, or has
            no usable geometry.
    """
    path = Path(path)
    array, geometry, remarks = _load(path)
    return canonical_volume(finite_hu(array, path), geometry, remarks)


def load_mask(
    path: str | os.PathLike[str], ct: Geometry, scheme: LabelScheme = VERSE, sacrum: bool = False
) -> Volume:
    """Read a label map as VerSe's values, uint8, on the grid of its CT, given by its geometry.

    A mask with another number of voxels is resampled onto the CT's grid (nearest neighbour) with
    a warning. A folder of binary masks (`vertseg.scans.mask_folders`) needs no scheme. A sacrum
    with VerSe's value, as in some phantoms, is background unless `sacrum` is true.

    Raises:
        UserError: as for `load_ct`; also values that are not whole numbers or not in the scheme,
            a mask of its CT's shape in another place, or one whose vertebrae all lie outside it.
    """
    path = Path(path)
    if path.is_dir():
        array, geometry = load_mask_folder(path, lambda file: _load(file)[:2])
    else:
        array, geometry, _ = _load(path)
        array = _verse_labels(array, path, scheme, sacrum)
    _refuse_ambiguous(path, geometry, ct)
    mask = canonical_volume(array, geometry)
    if same_grid(geometry, ct):
        on_ct = mask.array
    else:
        _check_place(path, geometry, ct)
        on_ct = _resample_nearest(mask, ct)
        if mask.array.any() and not on_ct.any():
            raise UserError(
                f"{path}: the mask lies outside its CT (another patient or a lost header?). "
                "Check the pairing of CT and mask in the sample sheet."
            )
        logger.warning(
            "%s: the mask's grid (shape %s, affine %s) is not its CT's (shape %s, affine %s); "
            "resampled onto the CT.",
            path,
            geometry.canonical_shape,
            _rounded(mask.affine),
            ct.canonical_shape,
            _rounded(ct.canonical_affine),
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
        geometry: the grid on disk; its codes, transforms and units are written as they are.
        notice: up to 79 characters for the header's description.
        level: of the compression, 1 (fast) to 9 (small).
        noisy: run-length coding alone, as string matching gains little on noise.
    """
    image = nib.Nifti1Image(np.asfortranarray(array), geometry.affine)
    image.header["xyzt_units"] = geometry.xyzt_units
    image.header["descrip"] = notice
    image.set_sform(geometry.affine, geometry.sform_code)
    image.set_qform(geometry.affine, geometry.qform_code, strip_shears=True)
    if geometry.sform is not None:
        for name, row in zip(("srow_x", "srow_y", "srow_z"), geometry.sform, strict=True):
            image.header[name] = row
    if geometry.qform is not None:
        _set_qform(image.header, geometry.qform)
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


def _load(path: Path) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Voxels (i, j, k) in stored order, scl_slope applied, geometry and doubts of a 3-D file."""
    encoding = _encoding(path)
    quiet = np.errstate(over="ignore", invalid="ignore")
    with errors_named(path), quiet, open_stream(path, encoding) as stream:
        raw, header = _headers(stream.read(_LONGEST_HEADER), path)
        shape = checked_shape(header.get_data_shape(), path)
        check_size(math.prod(shape), header.get_data_dtype().itemsize, path)
        geometry, remarks = _geometry(raw, header, shape, path)
        array = _voxels(ArrayProxy(stream, header, mmap=False), shape)
        if encoding == "gzip":
            read_to_end(stream, path)
    for remark in remarks:
        logger.warning("%s: %s", path, remark)
    return array, geometry, remarks


def _encoding(path: Path) -> str:
    """Encoding of a file named .nii or .nii.gz, its content and its name in agreement."""
    check_regular(path)
    suffix = file_suffix(path)
    if suffix not in NIFTI:
        raise UserError(f"{path}: not a NIfTI file (.nii, .nii.gz). Convert it to .nii.gz first.")
    with errors_named(path), path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    is_compressed = start.startswith(GZIP_MARK)
    if is_compressed and suffix == ".nii":
        raise UserError(
            f"{path}: its content is compressed (gzip), but its name ends in .nii. Rename it: "
            ".nii.gz instead of .nii."
        )
    if suffix == ".nii.gz" and _magic(start):
        raise UserError(
            f"{path}: its content is not compressed, but its name ends in .nii.gz. Rename it: "
            ".nii instead of .nii.gz."
        )
    return "gzip" if suffix == ".nii.gz" else "raw"


def _magic(start: bytes) -> bytes:
    """The mark of a single-file NIfTI header (b"n+1" or b"n+2"); empty for other content."""
    marks = {start[344:348]: b"n+1", start[4:8]: b"n+2"}
    return next((mark for found, mark in marks.items() if found == mark + b"\0"), b"")


def _headers(start: bytes, path: Path) -> tuple[nib.Nifti1Header, nib.Nifti1Header]:
    """A file's header as stored, and with what is impossible in it mended by nibabel."""
    magic = _magic(start)
    if not magic:
        raise UserError(
            f"{path}: cannot be read (it does not start with a NIfTI header). It may be truncated "
            "or damaged, or in another format: copy or download it again, or convert it to .nii.gz."
        )
    kind = nib.Nifti1Header if magic == b"n+1" else nib.Nifti2Header
    block = start[: kind.template_dtype.itemsize]
    header = kind(block)
    if header.get_data_dtype().names is not None:
        raise UserError(f"{path}: a colour image, not a CT. Convert the original series.")
    if np.issubdtype(header.get_data_dtype(), np.complexfloating):
        raise UserError(f"{path}: complex values, not a CT.")
    if (unit := int(header["xyzt_units"]) & 7) in _OTHER_UNITS:
        raise UserError(
            f"{path}: the header states its lengths in {_OTHER_UNITS[unit]}. Give a file in mm."
        )
    return kind(block, check=False), header


def _geometry(
    raw: nib.Nifti1Header, header: nib.Nifti1Header, shape: tuple[int, int, int], path: Path
) -> tuple[Geometry, tuple[str, ...]]:
    """Grid of a file and doubts about it.

    The sform counts if its code is not 0, else the qform if its code is not 0, else voxel sizes
    with NIfTI's default orientation.
    """
    affine = checked_affine(header.get_best_affine(), path)
    check_extent(shape, affine, path)
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    qform = _affine_of(_stored_qform(header))
    shift = math.inf if qform is None else shift_mm(affine, qform, shape)
    is_same = shift <= _ROUNDING_VOXEL * voxel_sizes(affine).min()
    remarks = []
    if sform_code <= 0 and not np.all(raw["pixdim"][1:4]):
        remarks.append("The header states a voxel size of 0, which was read as 1 mm.")
    if sform_code <= 0 and qform_code <= 0:
        remarks.append("The header states no orientation; NIfTI's default was assumed.")
    if min(sform_code, qform_code) > 0 and shift > GRID_TOLERANCE_VOXEL * voxel_sizes(affine).min():
        by = f"by up to {shift:.1f} mm" if math.isfinite(shift) else "the qform being invalid"
        remarks.append(
            f"The header's sform (code {sform_code}) and qform (code {qform_code}) differ, {by}; "
            "the sform was used. Programs that use the qform show the scan and its results there."
        )
    geometry = Geometry(
        shape,
        affine,
        sform_code,
        qform_code,
        None if sform_code > 0 else header.get_sform()[:3],
        None if is_same else _stored_qform(header),
        int(header["xyzt_units"]),
    )
    return geometry, tuple(remarks)


def _stored_qform(header: nib.Nifti1Header) -> np.ndarray:
    names = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    return np.array([*header["pixdim"][:4], *(header[name] for name in names)], np.float64)


def _set_qform(header: nib.Nifti1Header, stored: np.ndarray) -> None:
    names = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    header["pixdim"][:4] = stored[:4]
    for name, value in zip(names, stored[4:], strict=True):
        header[name] = value


def _affine_of(stored_qform: np.ndarray) -> np.ndarray | None:
    """Affine that a qform states; None if it is invalid."""
    header = nib.Nifti1Header()
    _set_qform(header, stored_qform)
    try:
        affine = header.get_qform()
    except (ValueError, HeaderDataError):
        return None
    return affine if np.isfinite(affine).all() else None


def _placed_by_qform(geometry: Geometry) -> Geometry | None:
    """The grid of programs that prefer the qform to the sform; None if its qform is invalid."""
    if geometry.qform is None or min(geometry.sform_code, geometry.qform_code) <= 0:
        return geometry
    affine = _affine_of(geometry.qform)
    return None if affine is None else replace(geometry, affine=affine)


def _refuse_ambiguous(path: Path, mask: Geometry, ct: Geometry) -> None:
    """Refuse a pair that programs with another preference of transforms would read differently.

    Raises:
        UserError: the mask lies on its CT by the sforms and not by the qforms or the reverse, or
            the CT's sform and qform disagree about orientation or voxel size.
    """
    ct_by_qform, mask_by_qform = _placed_by_qform(ct), _placed_by_qform(mask)
    if ct_by_qform is None or mask_by_qform is None:
        return
    if same_grid(mask, ct) != same_grid(mask_by_qform, ct_by_qform):
        raise UserError(
            f"{path}: sform and qform contradict each other: by one the mask lies on its CT, by "
            f"the other it does not.{_listed_transforms('CT', ct, ct_by_qform)}"
            f"{_listed_transforms('mask', mask, mask_by_qform)}\nWrite both transforms of the "
            "CT's header to the mask if they belong together, or set the codes of the wrong ones "
            "to 0."
        )
    sizes, sizes_by_qform = voxel_sizes(ct.affine), voxel_sizes(ct_by_qform.affine)
    if not np.array_equal(ct.to_canonical, ct_by_qform.to_canonical) or not np.allclose(
        sizes, sizes_by_qform, rtol=_SIZE_TOLERANCE
    ):
        raise UserError(
            f"{path}: its CT's sform and qform disagree about orientation or voxel size."
            f"{_listed_transforms('CT', ct, ct_by_qform)}\nSet the code of the wrong one to 0."
        )


def _listed_transforms(name: str, geometry: Geometry, by_qform: Geometry) -> str:
    return (
        f"\n  {name} by sform: {_rounded(geometry.affine)}"
        f"\n  {name} by qform: {_rounded(by_qform.affine)}"
    )


def _rounded(affine: np.ndarray) -> list[list[float]]:
    return np.round(affine[:3], 3).tolist()


def _voxels(proxy: ArrayProxy, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels with scl_slope applied: integers where that is exact, else float32.

    They are read slab by slab: nibabel would hold a compressed file's voxels twice, and scale all
    of them at once in float64.
    """
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


def _verse_labels(array: np.ndarray, path: Path, scheme: LabelScheme, sacrum: bool) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        whole = np.rint(array)
        if not np.isfinite(array).all() or np.abs(array - whole).max() > 1e-3:
            raise UserError(f"{path}: label values are not whole numbers. Export the mask again.")
        array = whole
    labels = np.zeros_like(array, np.uint8)
    # Most of a mask is background.
    box = Box.whole(array.shape) if array.min() < BACKGROUND else labelled_box(array)
    if box is None:
        return labels
    values = labels_present(array[box.slices])
    known = scheme
    if scheme is VERSE:
        known = {**VERSE, SACRUM: SACRUM if sacrum else BACKGROUND}
    unknown = [value for value in values if value not in known]
    if unknown:
        raise UserError(_unknown_values(path, unknown, scheme))
    table = np.zeros(max(values) + 1, np.uint8)
    table[values] = [known[value] for value in values]
    labels[box.slices] = table[array[box.slices].astype(np.intp, copy=False)]
    return labels


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
        f"{path}: label values outside VerSe's scheme: {named}. Allowed are 0, 1-25 (C1-L6), "
        "26 (sacrum) and 28 (T13). If another tool wrote the mask, state its label scheme "
        "(docs/own_data.md)."
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
