#!/usr/bin/env bash
# TotalSegmentator 2.18.0: `change_spacing` moves what lies far from the first voxel by up to a slice.
#
# It interpolates so that the first and last voxels keep their centres, but the affine that it writes
# has the spacing that was asked for, which does not lead to the same last voxel. Expected: what was at
# a height stays there, as with nibabel's resample_to_output. Seen: slices of 5 mm resampled to 1.5 mm
# are stretched, and what lies near the 60th is 3.3 mm too high. (Put back on the scan's own grid, as
# TotalSegmentator does with its masks, the error is undone.)
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    nibabel==5.4.2 numpy==2.4.6 scipy==1.17.1 joblib==1.5.2
venv/bin/pip install --quiet --disable-pip-version-check --no-deps totalsegmentator==2.18.0

venv/bin/python - <<'END'
import sys

import nibabel as nib
import numpy as np
from nibabel.processing import resample_to_output
from totalsegmentator.resampling import change_spacing

SLICE_MM, SPACING_MM = 5.0, 1.5
voxels = np.zeros((12, 12, 60))
voxels[:, :, 54:57] = 1000
scan = nib.Nifti1Image(voxels, np.diag([1.5, 1.5, SLICE_MM, 1]))


def height_mm(image: nib.Nifti1Image) -> float:
    profile = image.get_fdata().sum(axis=(0, 1))
    index = np.sum(profile * np.arange(len(profile))) / profile.sum()
    return float(image.affine[2, 3] + index * image.affine[2, 2])


true_mm = height_mm(scan)
by_nibabel = height_mm(resample_to_output(scan, SPACING_MM, order=1)) - true_mm
found = change_spacing(scan, [SPACING_MM] * 3, order=1)
moved = height_mm(found) - true_mm
print(f"moved by: {by_nibabel:.2f} mm (nibabel), {moved:.2f} mm (change_spacing)")
sys.exit(not (abs(by_nibabel) < 0.2 and 3 < moved < 3.6 and found.affine[2, 2] == SPACING_MM))
END
