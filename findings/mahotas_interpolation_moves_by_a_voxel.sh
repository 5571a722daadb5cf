#!/usr/bin/env bash
# mahotas 1.4.19: a scan shifted by nothing moves by one voxel, and zooming moves it and repeats its voxels.
#
# interpolate.shift and interpolate.zoom are documented to use splines, of order 3 by default. Expected: what
# scipy's functions of these names give, and from a shift by 0 the scan itself. Seen: every voxel comes from
# one place further along each axis, so that a shift by (0, 0, 0) moves all by (-1, -1, -1) voxels, with
# slices of 5 mm by 5 mm; nothing is interpolated, whatever the order: half voxels are rounded, and zooming
# repeats voxels. imresize, which zooms, lies as far beside scipy's result.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mahotas==1.4.19 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'END'
import sys

import mahotas
import mahotas.interpolate
import numpy as np
from scipy import ndimage

CENTRE = (12, 15, 18)
indices = np.indices((30, 32, 34))
ball = np.exp(-sum((axis - at) ** 2 for axis, at in zip(indices, CENTRE)) / 8)


def centre(scan: np.ndarray) -> np.ndarray:
    """Centre of the ball in voxels, from the weights of its values."""
    return np.array([np.sum(axis * scan) / np.sum(scan) for axis in np.indices(scan.shape)])


found = {}
for offset in ((0, 0, 0), (3, 0, -2), (0, 0, 0.5)):
    for order in (1, 3):
        moved = [
            centre(shift(ball, offset, order=order)) - CENTRE
            for shift in (mahotas.interpolate.shift, ndimage.shift)
        ]
        found[offset, order] = moved
        print(f"shift by {offset}, order {order}: {moved[0].round(2).tolist()}, scipy {moved[1].round(2).tolist()}")
whole = mahotas.interpolate.shift(ball, (0, 0, 0))
one_off = np.allclose(whole[:-1, :-1, :-1], ball[1:, 1:, 1:])
zooms = {
    "zoom": centre(mahotas.interpolate.zoom(ball, 2.0)),
    "imresize": centre(mahotas.imresize(ball, (60, 64, 68))),
    "scipy": centre(ndimage.zoom(ball, 2.0, grid_mode=True, mode="nearest")),
}
print("zoomed by 2, ball at", {name: place.round(2).tolist() for name, place in zooms.items()})
doubled = mahotas.interpolate.zoom(ball, (1, 1, 2.0))
repeated = max(float(np.mean(doubled[..., at:-2:2] == doubled[..., at + 1 : -1 : 2])) for at in (2, 3))
print(f"zoomed by 2 along one axis: {repeated:.0%} of its pairs of voxels are one voxel twice")
shifts = all(
    np.allclose(scipys, offset, atol=0.05) and np.allclose(moved[:2], np.subtract(offset, 1)[:2], atol=0.05)
    for (offset, _), (moved, scipys) in found.items()
)
zoomed = all(np.allclose(zooms[name], zooms["scipy"] - 1, atol=0.05) for name in ("zoom", "imresize"))
sys.exit(not (one_off and shifts and zoomed and repeated == 1))
END
