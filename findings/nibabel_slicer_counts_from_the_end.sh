#!/usr/bin/env bash
# nibabel 5.4.2: slices counted from an image's end, or taken backwards, are put in the wrong place.
#
# The documentation of `slicer` says that the affine follows, so that every value stays at its place in
# the patient. Expected: the last four slices of ten lie where they lay. Seen: `slicer[:, :, -4:]` lies
# ten slices too low, and `slicer[:, :, ::-1]` nine; `slicer[:, :, 6:]`, the same voxels as the first,
# lies right. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import nibabel as nib
import numpy as np

SLICE_MM, SLICES = 5.0, 10
heights_mm = SLICE_MM * np.arange(SLICES)
voxels = np.broadcast_to(heights_mm, (4, 4, SLICES))  # each voxel holds its own height
image = nib.Nifti1Image(voxels, np.diag([1, 1, SLICE_MM, 1]))


def error_mm(part: slice) -> float:
    """Height at which the first voxel of a part is put, less the height that it holds."""
    found = image.slicer[:, :, part]
    return float(found.affine[2, 3] - found.get_fdata()[0, 0, 0])


errors_mm = [error_mm(part) for part in (slice(6, None), slice(-4, None), slice(None, None, -1))]
print("error in mm: %g (6:), %g (-4:), %g (::-1)" % tuple(errors_mm))
sys.exit(errors_mm != [0, -SLICE_MM * SLICES, -SLICE_MM * (SLICES - 1)])
END
