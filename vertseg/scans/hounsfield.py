"""The rule of what a CT is: Hounsfield units on a straight grid in millimetres.

Image formats do not state the modality, so values and voxels are judged. `docs/inputs.md` lists the
shares measured on public scans and phantoms.
"""

from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from vertseg.core.errors import UserError
from vertseg.scans.volumes import AIR_HU, LONGEST_MM, Volume

FAT_HU = -30
"""Fat, lung and air lie below these HU."""
LEAST_FAT_SHARE = 0.005
"""Smallest share of voxels below `FAT_HU`."""
SOFT_HU = (-30, 150)
"""HU of blood, muscle and organs."""
LEAST_SOFT_SHARE = 0.05
"""Smallest share of voxels of soft tissue."""
BONE_HU = 150
"""Most bone lies above these HU."""
LEAST_BONE_SHARE = 0.001
"""Smallest share of voxels above `BONE_HU`."""
DENSE_HU, TISSUE_HU = 700, -200
"""Lower bounds of the densest bone and metal, and of all tissue but lung."""
LARGEST_DENSE_SHARE = 0.25
"""Largest share of voxels above `DENSE_HU` among those above `TISSUE_HU`."""
MEDIAN_HU = (15, 350)
"""Range of the median of the voxels above `FAT_HU`."""

PEAK_HU = (30, 75, 120)
"""Muscle lies between the first two, most fat between the last two below zero. In inverted CT
muscle lies from -75 to -30 HU and fat from 75 to 120 HU."""
LEAST_PEAK_SHARE = 0.4
"""Smallest share of voxels on the right side of the middle bound, of those within the outer two,
below or above zero; one of the two suffices."""
LEAST_PEAK_VOXELS = 0.02
"""Smallest share of voxels within the bounds; with fewer, nothing is said."""

SHEAR_TOLERANCE_DEG = 1.0
"""Largest deviation of the voxel axes from perpendicular."""
VOXEL_MM = (0.1, 20)
"""Range of a voxel's sides; in centimetres or metres they are smaller."""
EXTENT_MM = (5, LONGEST_MM)
"""Range of a scan's longest side."""

_SAMPLED_VOXELS = 2_000_000


def check_ct(volume: Volume, path: Path) -> None:
    """Refuse volumes other than a CT in Hounsfield units on a straight grid in mm.

    Args:
        volume: any numbers that are finite.
        path: the scan, for messages.

    Raises:
        UserError: the values are those of MR, PET, a mask, a screen's grey values, or HU that were
            shifted, scaled or inverted; voxels are sheared, or not measured in mm.
    """
    _check_values(volume.array, path)
    check_grid(volume.affine, volume.array.shape, path)


def check_grid(affine: np.ndarray, shape: tuple[int, ...], path: Path) -> None:
    """Refuse voxels that are sheared or whose sides are not in mm.

    Args:
        affine: (4, 4) voxel indices to mm.
        shape: of the volume.
        path: the scan, for messages.

    Raises:
        UserError: one of the two.
    """
    sides = voxel_sizes(affine)
    longest = (sides * shape).max()
    within = VOXEL_MM[0] <= sides.min() and sides.max() <= VOXEL_MM[1]
    if not within or not EXTENT_MM[0] <= longest <= EXTENT_MM[1]:
        raise UserError(
            f"{path}: voxels of {' x '.join(f'{side:.3g}' for side in sides)} mm, and "
            f"{longest:.3g} mm along the longest side, are not those of a CT. The header's numbers "
            "seem to be in another unit than mm (metres, centimetres, micrometres): convert the "
            "original series again, or write the header in mm."
        )
    axes = affine[:3, :3] / sides
    cosine = np.abs(np.triu(axes.T @ axes, 1)).max()
    angle = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    if angle > SHEAR_TOLERANCE_DEG:
        raise UserError(
            f"{path}: the voxel axes are {angle:.1f} degrees off perpendicular (gantry tilt?), so "
            "that voxels are not rectangular boxes. Give the DICOM series, which is resampled to a "
            "straight grid when it is read, or resample the scan."
        )


def _check_values(array: np.ndarray, path: Path) -> None:
    """Refuse values other than Hounsfield units.

    Padding does not count: values below air's, and the lowest value, which air cut off at -1024
    HU shares.
    """
    step = max(1, round((array.size / _SAMPLED_VOXELS) ** (1 / 3)))
    sample = array[::step, ::step, ::step]
    low, high = float(sample.min()), float(sample.max())
    if low == high:
        raise UserError(f"{path}: all voxels have the value {low:g}. Export the scan again.")
    values = sample[sample >= AIR_HU].astype(np.float32, copy=False)
    reason = _fault(values[values > values.min()] if values.size else values)
    if reason:
        raise UserError(
            f"{path}: not a CT in Hounsfield units: values from {low:g} to {high:g}, of which, "
            f"padding left out, {reason}. MR, PET and masks cannot be segmented. Of a CT, give the "
            "original HU: neither scaled to grey values nor inverted or shifted (water is 0 HU; if "
            "it reads 1024, subtract 1024)."
        )


def _fault(values: np.ndarray) -> str:
    """The first way in which values (1-D, without padding) differ from a CT's; "" if in none."""
    if not values.size or np.mean(values < FAT_HU) < LEAST_FAT_SHARE:
        return f"hardly any lies below {FAT_HU}, as fat and air do"
    if np.mean((values > SOFT_HU[0]) & (values < SOFT_HU[1])) < LEAST_SOFT_SHARE:
        return f"hardly any lies from {SOFT_HU[0]} to {SOFT_HU[1]}, as muscle and blood do"
    if np.mean(values > BONE_HU) < LEAST_BONE_SHARE:
        return f"hardly any lies above {BONE_HU}, as bone does"
    tissue = np.count_nonzero(values > TISSUE_HU)
    if np.count_nonzero(values > DENSE_HU) > LARGEST_DENSE_SHARE * tissue:
        return f"too many lie above {DENSE_HU}, as the densest bone and metal alone do"
    median = float(np.median(values[values > FAT_HU]))
    if not MEDIAN_HU[0] < median < MEDIAN_HU[1]:
        return (
            f"those above {FAT_HU} have the median {median:g}, where soft tissue gives "
            f"{MEDIAN_HU[0]} to {MEDIAN_HU[1]}"
        )
    if _peaks_inverted(values):
        return "fat and muscle lie at 100 and -50, where inverted values have them"
    return ""


def _peaks_inverted(values: np.ndarray) -> bool:
    """Whether fat and muscle lie on the other side of 0 HU than in CT."""
    near, middle, far = PEAK_HU
    bounds = [-far, -middle, -near, near, middle, far]
    fat, not_fat, _, muscle, not_muscle = np.histogram(values, bounds)[0].tolist()
    below, above = fat + not_fat, muscle + not_muscle
    if below + above < LEAST_PEAK_VOXELS * values.size:
        return False
    if min(below, above) < LEAST_PEAK_VOXELS * (below + above):
        return False
    return fat < LEAST_PEAK_SHARE * below and muscle < LEAST_PEAK_SHARE * above
