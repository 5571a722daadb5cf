#!/usr/bin/env bash
# miseval 1.3.0: its average Hausdorff distance is the greatest distance, its Hausdorff distance no distance.
#
# Expected for a box and a copy 5 voxels beside it, both 10 x 10: a Hausdorff distance of 5, and an average
# of the outlines' distances well below it (2.5 here; the package's own table of metrics tells the two
# apart). Seen: calc_AverageHausdorffDistance gives 5, the greatest one, so that one stray voxel far away
# decides it; calc_SimpleHausdorffDistance takes whole rows of voxels for points, and gives 3.2.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check miseval==1.3.0 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'END'
import sys

import numpy as np
from miseval import calc_AverageHausdorffDistance, calc_SimpleHausdorffDistance
from scipy.ndimage import binary_erosion, distance_transform_edt

truth = np.zeros((40, 40), np.uint8)
truth[10:20, 10:20] = 1
found = np.roll(truth, 5, axis=1)


def outline_distances(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances in voxels from the outline of one mask to that of the other."""
    outlines = [part.astype(bool) & ~binary_erosion(part) for part in (mask, other)]
    return distance_transform_edt(~outlines[1])[outlines[0]]


distances = np.concatenate([outline_distances(truth, found), outline_distances(found, truth)])
print(f"distances of the outlines: {distances.mean():.2f} on average, {distances.max():g} at most")
average = calc_AverageHausdorffDistance(truth, found)
simple = calc_SimpleHausdorffDistance(truth, found)
far = found.copy()
far[38, 38] = 1
stray = calc_AverageHausdorffDistance(truth, far)
print(f"miseval: {average:g} on average ({stray:.1f} with a stray voxel), Hausdorff distance {simple:.2f}")
sys.exit(not (distances.max() == average == 5 and distances.mean() < 3 and stray > 25 and simple < 4))
END
