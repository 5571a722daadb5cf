#!/usr/bin/env bash
# TPTBox 1.1.0: a vertebra's surface is written near the scan's first voxel instead of at the vertebra.
#
# to_stl makes a mesh of a label, by default in mm of the patient (documented: with the image's affine).
# Expected: the mesh has the place of the label. Seen: the mask is cropped to the label first, and the
# mesh is placed with the affine of the whole image, so that every vertebra lies at the scan's corner,
# one upon the other. With to_world=False the vertices are right, in voxels.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tptbox==1.1.0 nibabel==5.4.2 numpy-stl==3.2.0

venv/bin/python - <<'END'
import sys

import nibabel as nib
import numpy as np
from TPTBox import NII

SPACING_MM = (1.0, 1.5, 2.0)
PLACES = {20: (30, 20, 12), 24: (32, 24, 36)}
voxels = np.zeros((60, 60, 60), np.uint8)
for label, place in PLACES.items():
    voxels[tuple(slice(index - 4, index + 5) for index in place)] = label
affine = nib.affines.from_matvec(np.diag(SPACING_MM), [-40, 15, 100])
labels = NII(nib.Nifti1Image(voxels, affine), seg=True)

found = []
for label, place in PLACES.items():
    true = nib.affines.apply_affine(affine, place)
    world = labels.to_stl(label).vectors.reshape(-1, 3)
    inside = labels.to_stl(label, to_world=False).vectors.reshape(-1, 3)
    inside = nib.affines.apply_affine(affine, inside)
    centres = [(part.min(axis=0) + part.max(axis=0)) / 2 for part in (world, inside)]
    found.append((true, *centres))
    print(f"label {label}: at {true} mm, surface at {centres[0]} mm, from voxels {centres[1]} mm")
((lower, lower_mesh, lower_inside), (upper, upper_mesh, upper_inside)) = found
exact = np.allclose(lower, lower_inside) and np.allclose(upper, upper_inside)
far = np.linalg.norm(lower - lower_mesh) > 30 and np.linalg.norm(upper - upper_mesh) > 60
sys.exit(not (exact and far and np.allclose(lower_mesh, upper_mesh)))
END
