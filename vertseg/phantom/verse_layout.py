"""Phantoms written as VerSe distributes its scans."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from vertseg.errors import UserError
from vertseg.files import atomic_path, write_json
from vertseg.parallel import run_jobs
from vertseg.phantom.generate import Phantom, generate_phantom
from vertseg.phantom.geometry import Floats
from vertseg.phantom.settings import PhantomSettings

ORIENTATIONS = ("RAS", "LPS", "PIR", "LAS", "ASL", "RSA")


class ScanPaths(NamedTuple):
    """The four files of a phantom scan."""

    ct: Path
    mask: Path
    centroids: Path
    truth: Path


def scan_paths(root: Path, subject: str) -> ScanPaths:
    """Where a subject's only scan lies below the data set's root."""
    derived = root / "derivatives" / subject / subject
    return ScanPaths(
        ct=root / "rawdata" / subject / f"{subject}_ct.nii.gz",
        mask=derived.with_name(f"{subject}_seg-vert_msk.nii.gz"),
        centroids=derived.with_name(f"{subject}_seg-vert_ctd.json"),
        truth=derived.with_name(f"{subject}_phantom.json"),
    )


def write_verse_scan(phantom: Phantom, root: Path, subject: str, orientation: str) -> ScanPaths:
    """Write CT, mask, centroids and ground truth of a scan.

    Args:
        phantom: the scan, RAS+.
        root: the data set's folder, with `rawdata` and `derivatives`.
        subject: name of subject and scan, such as "sub-phantom0001".
        orientation: axis codes of the NIfTI files' arrays, such as "PIR".
    """
    paths = scan_paths(root, subject)
    to_target = ornt_transform(io_orientation(phantom.affine), axcodes2ornt(orientation))
    target_to_ras = inv_ornt_aff(to_target, phantom.ct.shape)
    affine = phantom.affine @ target_to_ras
    for array, path in ((phantom.ct, paths.ct), (phantom.mask, paths.mask)):
        _write_nifti(apply_orientation(array, to_target), affine, path)
    write_json(paths.centroids, _centroid_list(phantom, affine, orientation))
    write_json(paths.truth, phantom.truth)
    return paths


def scan_seed(seed: int, scan: str) -> int:
    """The seed of a scan, from the data set's seed and the number that ends the scan's name.

    It depends on nothing else: a larger data set repeats the scans of a smaller one.

    Raises:
        UserError: the name ends in no number.
    """
    number = re.search(r"\d+$", scan)
    if number is None:
        raise UserError(f"scan {scan!r}: a phantom's name must end in a number")
    return int(np.random.SeedSequence([seed, int(number[0])]).generate_state(1, np.uint64)[0])


def write_phantom_dataset(
    root: Path, scans: Sequence[str], seed: int, settings: PhantomSettings, workers: int
) -> None:
    """Generate and write scans with a pool of processes."""
    jobs = [(scan, root, seed, settings) for scan in scans]
    run_jobs(_write_phantom, jobs, workers, "phantoms")


def _write_phantom(scan: str, root: Path, seed: int, settings: PhantomSettings) -> None:
    own_seed = scan_seed(seed, scan)
    orientation = np.random.default_rng([own_seed, 1]).choice(ORIENTATIONS)
    write_verse_scan(generate_phantom(own_seed, settings), root, scan, str(orientation))


def _write_nifti(array: NDArray, affine: Floats, path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(array), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_gzipped(image.to_bytes()))


def _gzipped(content: bytes) -> bytes:
    """Gzip without a time stamp; run-length coding, as string matching gains little on noise."""
    gzip_header = 16 + zlib.MAX_WBITS
    packer = zlib.compressobj(1, zlib.DEFLATED, gzip_header, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(content) + packer.flush()


def _centroid_list(phantom: Phantom, affine: Floats, orientation: str) -> list[dict]:
    """VerSe's centroid JSON: the axis codes, then a voxel position per label in array order."""
    to_voxel = np.linalg.inv(affine)
    entries: list[dict] = [{"direction": list(orientation)}]
    for label, centre in sorted(phantom.centroids_mm.items()):
        x, y, z = (round(float(value), 1) for value in nib.affines.apply_affine(to_voxel, centre))
        entries.append({"label": label, "X": x, "Y": y, "Z": z})
    return entries
