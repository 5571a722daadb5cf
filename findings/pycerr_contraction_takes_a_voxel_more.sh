#!/usr/bin/env bash
# pyCERR 2.5.1: shrinking a structure by a margin takes a voxel more off every side than growing adds.
#
# surfaceExpand is documented to grow or shrink a mask by a margin in cm. Expected: voxels nearer than the
# margin to the other side's voxels change, so that a box in slices of 2.5 mm gains or loses 3 voxels of
# 1 mm and 1 slice on every side by 3.5 mm, and is itself again after growing and shrinking (a closing); by
# 0.5 mm nothing changes. Seen: growing is right, but shrinking puts its ball on the outermost voxels of the
# mask itself, so that they are lost on top of the margin: 5 mm instead of 2.5 at each end, a whole slice by
# a margin of 0.5 mm, and a closed structure is a layer smaller than it was.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 simpleitk==2.5.7
venv/bin/pip install --quiet --disable-pip-version-check --no-deps pycerr==2.5.1

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
from cerr.utils.mask import surfaceExpand
from scipy.ndimage import distance_transform_edt

VOXEL_CM = (0.1, 0.1, 0.25)
mask = np.zeros((40, 40, 30), bool)
mask[10:30, 10:30, 10:20] = True


def sides(found: np.ndarray) -> tuple[int, ...]:
    """Numbers of rows, columns and slices that a mask fills."""
    voxels = np.argwhere(found)
    return tuple(int(size) for size in voxels.max(axis=0) - voxels.min(axis=0) + 1)


def true(margin_cm: float) -> np.ndarray:
    """The mask with all voxels within the margin added to it, or those outside's taken away."""
    if margin_cm > 0:
        return distance_transform_edt(~mask, sampling=VOXEL_CM) <= margin_cm
    return distance_transform_edt(mask, sampling=VOXEL_CM) > -margin_cm


found = {}
for margin_cm in (0.35, -0.35, 0.05, -0.05):
    changed = surfaceExpand(mask, VOXEL_CM, margin_cm)
    found[margin_cm] = sides(changed), sides(true(margin_cm))
    changed_to, expected = found[margin_cm]
    print(f"margin {margin_cm * 10:g} mm: a box of {sides(mask)} becomes {changed_to}; true: {expected}")
closed = surfaceExpand(surfaceExpand(mask, VOXEL_CM, 0.35), VOXEL_CM, -0.35)
print(f"grown and shrunk by 3.5 mm: {sides(closed)}; true: {sides(mask)}")
grown = all(found[margin_cm][0] == found[margin_cm][1] for margin_cm in (0.35, 0.05))
shrunk = found[-0.35] == ((12, 12, 6), (14, 14, 8)) and found[-0.05] == ((18, 18, 8), (20, 20, 10))
sys.exit(not (grown and shrunk and sides(closed) == (18, 18, 8)))
END
