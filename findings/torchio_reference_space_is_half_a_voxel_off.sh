#!/usr/bin/env bash
# TorchIO 1.2.1: a network's output that gets a scan's space lies half a voxel beside it, at some sizes.
#
# ToReferenceSpace.from_tensor gives a tensor that covers a scan with fewer voxels (an embedding, a
# prediction at half the resolution) the affine for it. Expected: the same centre as the scan, whatever its
# numbers of voxels and their length. Seen: the number of voxels is computed anew from lengths in mm and
# cut to a whole number, so that where rounding gives 47.999... the affine is that of 47 voxels, while the
# tensor has 48: with 96 voxels of 0.7 mm, halved, all lies 0.7 mm off along each axis, which is a voxel of
# the scan; of 0.8 mm, it is right. Nothing warns.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torchio==1.2.1 torch==2.13.0 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import torch
import torchio

SIZE = 96


def centre(image: torchio.Image) -> np.ndarray:
    """Middle of an image's voxels in mm (3,)."""
    return image.affine[:3, :3] @ ((np.array(image.spatial_shape) - 1) / 2) + image.affine[:3, 3]


off = {}
for spacing in (0.7, 0.8):
    affine = np.diag([spacing, spacing, spacing, 1])
    scan = torchio.ScalarImage(tensor=torch.rand(1, SIZE, SIZE, SIZE), affine=affine)
    pooled = torch.nn.functional.avg_pool3d(scan.data, 2)
    placed = torchio.ToReferenceSpace.from_tensor(pooled, scan)
    assert placed.spatial_shape == (SIZE // 2,) * 3
    assert np.allclose(placed.spacing, 2 * spacing)
    off[spacing] = centre(placed) - centre(scan)
    print(f"{SIZE} voxels of {spacing} mm, halved: off by {off[spacing].round(2).tolist()} mm")
sys.exit(not (np.allclose(off[0.7], 0.7, atol=0.01) and np.allclose(off[0.8], 0, atol=0.01)))
END
