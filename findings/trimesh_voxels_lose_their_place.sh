#!/usr/bin/env bash
# trimesh 5.2.0: the surface of voxels has another size and place than the voxels.
#
# A VoxelGrid has a transform from indices to places. Expected: its surface, by marching cubes, lies where
# its points and its boxes lie. Seen: `marching_cubes` has vertices in indices, so that a vertebra of
# voxels of 0.8 x 0.8 x 2.5 mm has the wrong shape, 63 % of its volume and lies at the origin; `points`,
# `volume` and `as_boxes()` of the same grid are right.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    trimesh==5.2.0 scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import trimesh

SPACING_MM, ORIGIN_MM = np.array([0.8, 0.8, 2.5]), np.array([-120.0, -90.0, 400.0])
indices = np.moveaxis(np.indices((44, 44, 16)), 0, -1) - np.array([21.5, 21.5, 7.5])
mask = np.sum((indices * SPACING_MM) ** 2, axis=-1) <= 15**2  # a ball of 30 mm
grid = trimesh.voxel.VoxelGrid(
    mask, transform=trimesh.transformations.compose_matrix(scale=SPACING_MM, translate=ORIGIN_MM)
)
surface = grid.marching_cubes
known = np.array([21.5, 21.5, 7.5]) * SPACING_MM + ORIGIN_MM
found = {
    "points": (grid.points.mean(axis=0), grid.volume, np.ptp(grid.points, axis=0)),
    "boxes": (grid.as_boxes().bounds.mean(axis=0), grid.volume, np.ptp(grid.as_boxes().bounds, axis=0)),
    "marching cubes": (surface.bounds.mean(axis=0), abs(surface.volume), surface.extents),
}
print("known: centre", known.tolist(), f"volume {4 / 3 * np.pi * 15**3:.0f} mm3")
for name, (centre, volume, extents) in found.items():
    print(f"{name}: centre {centre.round(1).tolist()}, volume {volume:.0f}, extents {extents.round(1)}")
right = all(np.allclose(found[name][0], known, atol=0.1) for name in ("points", "boxes"))
right &= abs(grid.volume / (4 / 3 * np.pi * 15**3) - 1) < 0.02
by_index = np.allclose(found["marching cubes"][0], [21.5, 21.5, 7.5], atol=0.1)
ratio = abs(surface.volume) / grid.volume
sys.exit(not (right and by_index and np.isclose(ratio, 1 / np.prod(SPACING_MM), rtol=0.02)))
END
