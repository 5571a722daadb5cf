#!/usr/bin/env bash
# TPTBox 1.1.0: a scan cropped or padded about its centre is put elsewhere in the patient.
#
# `apply_crop` and `apply_pad` of the same class move the affine with the voxels. Expected: so does
# `apply_center_crop`, since the image that it returns has an affine. Seen: the affine stays that of the
# whole scan, so that what is cropped or padded lies off by half of what was taken away or added, and
# masks no longer lie on their scan.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tptbox==1.1.0 nibabel==5.4.2

venv/bin/python - <<'END'
import sys

import nibabel as nib
import numpy as np
from TPTBox import NII

SPACING_MM, PLACE = 2.0, (20, 20, 20)
voxels = np.zeros((40, 40, 40), np.uint8)
voxels[PLACE] = 1
scan = NII(nib.Nifti1Image(voxels, np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1])), seg=True)


def moved_mm(image: NII) -> float:
    """Distance between the labelled voxel in an image and in the scan."""
    (index,) = np.argwhere(image.get_array())
    places = nib.affines.apply_affine(image.affine, index), SPACING_MM * np.array(PLACE)
    return float(np.linalg.norm(places[0] - places[1]))


by_slices = moved_mm(scan.apply_crop((slice(0, 40), slice(0, 40), slice(10, 30))))
cropped = moved_mm(scan.apply_center_crop((40, 40, 20)))
padded = moved_mm(scan.apply_center_crop((40, 40, 60)))
print(f"moved by: {by_slices} mm (apply_crop), {cropped} mm (cropped), {padded} mm (padded)")
sys.exit((by_slices, cropped, padded) != (0, 10 * SPACING_MM, 10 * SPACING_MM))
END
