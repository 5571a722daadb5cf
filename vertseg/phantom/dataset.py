"""Phantom data sets in VerSe's layout."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from vertseg.anatomy.centroids import write_centroids
from vertseg.core.errors import UserError
from vertseg.core.files import write_json
from vertseg.core.parallel import run_jobs
from vertseg.dataset import layout
from vertseg.phantom.generate import Phantom, generate_phantom
from vertseg.phantom.settings import PhantomSettings
from vertseg.scans.nifti import write_nifti
from vertseg.scans.volumes import Geometry

ORIENTATIONS = ("RAS", "LPS", "PIR", "LAS", "ASL", "RSA")


class ScanPaths(NamedTuple):
    """The four files of a phantom scan."""

    ct: Path
    mask: Path
    centroids: Path
    truth: Path


def scan_paths(root: Path, subject: str) -> ScanPaths:
    """Paths of a subject's only scan below the data set's root."""
    mask = layout.reference_path(root, subject, subject)
    return ScanPaths(
        ct=Path(layout.ct_path(root, subject, subject)),
        mask=Path(mask),
        centroids=Path(layout.phantom_centroids_path(root, subject, subject)),
        truth=layout.phantom_truth_path(mask),
    )


def write_verse_scan(phantom: Phantom, root: Path, subject: str, orientation: str) -> ScanPaths:
    """Write CT, mask, centroids and ground truth of a scan.

    Args:
        phantom: the scan, RAS+.
        root: folder of the data set, with `rawdata` and `derivatives`.
        subject: name of subject and scan, such as "sub-phantom0001".
        orientation: axis codes of the NIfTI files' arrays, such as "PIR".
    """
    paths = scan_paths(root, subject)
    to_target = ornt_transform(io_orientation(phantom.affine), axcodes2ornt(orientation))
    target_to_ras = inv_ornt_aff(to_target, phantom.ct.shape)
    affine = phantom.affine @ target_to_ras
    for array, path in ((phantom.ct, paths.ct), (phantom.mask, paths.mask)):
        stored = apply_orientation(array, to_target)
        write_nifti(path, stored, Geometry(stored.shape, affine), noisy=True)
    write_centroids(paths.centroids, phantom.centroids_mm, affine, decimals=1)
    write_json(paths.truth, phantom.truth)
    return paths


def scan_seed(seed: int, scan: str) -> int:
    """Seed of a scan, from the data set's seed and the number at the end of the scan's name alone.

    A larger data set therefore repeats the scans of a smaller one.

    Raises:
        UserError: the name does not end in a number.
    """
    number = re.search(r"\d+$", scan)
    if number is None:
        raise UserError(f"scan {scan!r}: the name of a phantom must end in a number.")
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
