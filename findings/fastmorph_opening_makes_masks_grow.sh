#!/usr/bin/env bash
# fastmorph 1.10.0: opening a mask with a sphere makes the mask larger, and so does closing a solid one.
#
# An opening (erosion, then dilation) takes away what is thinner than its radius and never adds a voxel;
# a closing of a box is the box. Expected of spherical_open and spherical_close: that, as scipy's binary
# opening with a ball gives it. Seen: dilation takes in voxels up to the radius, and erosion leaves those
# exactly at the radius, so where the radius is a whole number of voxels, what is left comes out a layer thicker.
# With the default of radius 1 and voxels of 1 mm, erosion takes away nothing, opening removes no speck,
# and a vertebra gains a layer on all sides; with radius 1.5, opening is right.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fastmorph==1.10.0 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'END'
import sys

import fastmorph
import numpy as np
from scipy.ndimage import binary_opening

mask = np.zeros((40, 40, 40), bool)
mask[10:30, 10:30, 10:30] = True
mask[4, 4, 4] = True  # a speck
box = mask.copy()
box[4, 4, 4] = False


def added(result: np.ndarray) -> tuple[int, bool]:
    """Voxels outside the mask, and whether the speck is still there."""
    return int(np.sum(result & ~mask)), bool(result[4, 4, 4])


opened, scipys, closed = {}, {}, {}
for radius in (1.0, 1.5, 2.0):
    reach = np.indices((5, 5, 5)) - 2
    ball = np.linalg.norm(reach, axis=0) <= radius
    scipys[radius] = added(binary_opening(mask, ball))
    opened[radius] = added(fastmorph.spherical_open(mask, radius=radius, anisotropy=(1, 1, 1)))
    closed[radius] = added(fastmorph.spherical_close(box, radius=radius, anisotropy=(1, 1, 1)))
    print(
        f"radius {radius:g}: opening adds {opened[radius][0]} voxels and the speck is"
        f" {'left' if opened[radius][1] else 'gone'} (scipy {scipys[radius][0]},"
        f" {'left' if scipys[radius][1] else 'gone'}); closing a box adds {closed[radius][0]}"
    )
eroded = fastmorph.spherical_erode(mask, anisotropy=(1, 1, 1))
print(f"erosion with the default radius takes away {int(np.sum(mask & ~eroded))} voxels")
right = all(result == (0, False) for result in scipys.values()) and opened[1.5] == (0, False)
grown = opened[1.0][0] > 2000 and opened[1.0][1] and opened[2.0][0] > 1000
sys.exit(not (right and grown and min(closed[1.0][0], closed[2.0][0]) > 1900 and (eroded == mask).all()))
END
