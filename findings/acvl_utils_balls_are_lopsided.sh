#!/usr/bin/env bash
# acvl-utils 0.2.6: structuring elements in mm come out lopsided, too small or as a single voxel.
#
# generate_ball (of nnU-Net's authors; also borders between instances are made with it) takes a radius and
# the spacing: a radius of 10 with a spacing of 5 is documented to be one of 2 voxels. Expected: a ball with a
# middle voxel that reaches about its radius to all sides, whatever the numbers. Seen: where radius over
# spacing is not whole, an element with an even number of voxels, without a middle: eroding by 2 mm with
# voxels of 0.7 mm takes away 0.7 mm on one side and 1.4 on the other; and the radius is rounded to whole mm
# first, so that 0.4 mm with voxels of 0.2 mm takes away nothing. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    scikit-image==0.26.0 connected-components-3d==4.1.1 scipy==1.17.1 numpy==2.4.6
venv/bin/pip install --quiet --disable-pip-version-check --no-deps acvl-utils==0.2.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
from acvl_utils.morphology.morphology_helper import generate_ball
from scipy.ndimage import binary_erosion

box = np.zeros((40, 40, 40), bool)
box[10:30, 10:30, 10:30] = True

right = {}
for radius, spacing in ((10, 5), (3, 1), (2, 0.7), (2, 0.8), (0.4, 0.2)):
    element = generate_ball((radius,) * 3, (spacing,) * 3)
    left = np.argwhere(binary_erosion(box, element))[:, 0]
    sides = spacing * np.array([left.min() - 10, 29 - left.max()])
    right[radius, spacing] = bool(np.all(np.abs(sides - radius) <= spacing / 2))
    print(f"{radius} mm, voxels of {spacing} mm: {element.shape[0]} voxels wide,"
          f" takes away {sides[0]:.1f} and {sides[1]:.1f} mm")
sys.exit({key for key, is_so in right.items() if is_so} != {(10, 5), (3, 1)})
END
