#!/usr/bin/env bash
# trimesh 5.2.0: a surface that is turned into voxels and filled has a fifth too much volume.
#
# Expected of `mesh.voxelized(1.0).fill()`: voxels whose centres lie inside, and so a ball of 10 mm with a
# volume of about 4189 mm3 (as `contains` at the same places gives it). Seen: every voxel that the surface
# touches is filled, which adds half a voxel on all sides: 21 % of volume for this ball, 35 % for one of
# 6 mm. Dice against the mask that a surface was made of cannot be 1, and volumes depend on the pitch.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    trimesh==5.2.0 scipy==1.17.1 rtree==1.4.1 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import trimesh


def ratios(radius_mm: float, pitch_mm: float) -> tuple[float, float]:
    """Volumes by voxelized().fill() and by contains() at voxel centres, over the surface's volume."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=radius_mm)
    filled = ball.voxelized(pitch_mm).fill()
    steps = np.arange(-np.ceil(radius_mm), np.ceil(radius_mm) + pitch_mm, pitch_mm)
    places = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.count_nonzero(ball.contains(places)) * pitch_mm**3
    return filled.volume / ball.volume, inside / ball.volume


found = {case: ratios(*case) for case in ((10.0, 1.0), (10.0, 0.5), (6.0, 1.0))}
for (radius_mm, pitch_mm), (filled, inside) in found.items():
    print(f"ball of {radius_mm:g} mm, voxels of {pitch_mm:g} mm: {filled:.0%} filled, {inside:.0%} inside")
exact = all(abs(inside - 1) < 0.03 for _, inside in found.values())
thick = [filled for filled, _ in found.values()]
sys.exit(not (exact and 1.15 < thick[0] < 1.25 and 1.06 < thick[1] < 1.15 and thick[2] > 1.25))
END
