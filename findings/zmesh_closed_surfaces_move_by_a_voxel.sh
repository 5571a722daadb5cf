#!/usr/bin/env bash
# zmesh 1.15.0: closing surfaces at the scan's edge moves all of them by a voxel along every axis.
#
# Mesher.mesh(labels, close=True) is documented to close the surfaces of labels that the edge of the scan
# cuts; by default they are left open there. Expected: a label that is nowhere near the edge has the same
# surface either way, at its voxels. Seen: with close=True every vertex is one voxel further along all
# three axes, so that with slices of 2.5 mm a vertebra lies 2.5 mm too high, beside its own mask.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check zmesh==1.15.0 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import zmesh

SPACING_MM = np.array([0.8, 0.9, 2.5])
labels = np.zeros((30, 30, 30), np.uint32)
labels[4:14, 5:15, 6:16] = 20  # inside the scan
labels[18:30, 5:15, 6:16] = 21  # cut by its edge
voxels = np.argwhere(labels == 20)
true = (voxels.min(axis=0) + voxels.max(axis=0)) / 2 * SPACING_MM

off = {}
for close in (False, True):
    mesher = zmesh.Mesher(tuple(SPACING_MM))
    mesher.mesh(labels, close=close)
    points = mesher.get(20, normals=False).vertices
    off[close] = (points.min(axis=0) + points.max(axis=0)) / 2 - true
    print(f"close={close}: middle of label 20 is {np.round(off[close], 2).tolist()} mm from its voxels' middle")
sys.exit(not (np.allclose(off[False], 0, atol=0.01) and np.allclose(off[True], SPACING_MM, atol=0.01)))
END
