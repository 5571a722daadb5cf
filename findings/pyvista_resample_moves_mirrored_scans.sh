#!/usr/bin/env bash
# PyVista 0.49.1: resample() moves a mirrored or leaning scan by half the difference of the voxels' lengths.
#
# ImageData has a direction matrix; scans whose axes run to the right and the front have -1 in it.
# resample() is documented to keep the image's bounds and to sample values at the new points. Expected: a
# point of the patient has the same value before and after. Seen: so it is with straight axes; with
# mirrored ones (same spacing, same factor) everything lies 0.8 and 0.9 mm beside its place where voxels of
# 0.8 x 0.9 mm are made twice as long, and with leaning ones 0.5 mm: the origin is moved along the axes of
# the coordinates instead of the image's. With extend_border=False it stays. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check vtk==9.7.2 pyvista==0.49.1 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import pyvista as pv

lean = np.radians(20)
DIRECTIONS = {
    "straight": np.eye(3),
    "mirrored": np.diag([-1.0, -1, 1]),
    "leaning": np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]),
}


def error_mm(directions: np.ndarray, **arguments: object) -> np.ndarray:
    """Shift of the values against their points: each voxel holds its own place in mm."""
    shift = []
    for axis in range(3):
        scan = pv.ImageData(
            dimensions=(40, 44, 30), spacing=(0.8, 0.9, 2.5), origin=(10, 20, -30), direction_matrix=directions
        )
        scan["place"] = scan.points[:, axis].astype(float)
        smaller = scan.resample(0.5, interpolation="linear", scalars="place", **arguments)
        error = np.reshape(smaller.points[:, axis] - smaller["place"], smaller.dimensions, order="F")
        inside = error[3:-3, 3:-3, 3:-3]
        assert np.ptp(inside) < 1e-3
        shift.append(float(inside.mean()))
    return np.array(shift)


found = {}
for name, directions in DIRECTIONS.items():
    found[name] = error_mm(directions)
    print(f"{name}: moved by {np.round(found[name], 2).tolist()} mm")
kept = all(np.abs(error_mm(directions, extend_border=False)).max() < 1e-3 for directions in DIRECTIONS.values())
straight = np.abs(found["straight"]).max() < 1e-3
mirrored = np.allclose(np.abs(found["mirrored"]), [0.8, 0.9, 0], atol=0.01)
sys.exit(not (kept and straight and mirrored and np.linalg.norm(found["leaning"]) > 0.4))
END
