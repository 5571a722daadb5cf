#!/usr/bin/env bash
# SimpleITK 2.5.7: Shrink by an even factor puts a scan half a voxel from where it was, in mm half a slice.
#
# Shrink keeps every second (third, ...) voxel and is documented to keep the image's centre. Expected: an
# image knows its places, so voxels stay where they were, as with slices image[::2] and with BinShrink.
# Seen: the origin is moved as for means of 2 x 2 x 2 voxels, but single voxels are taken, so that with
# slices of 5 mm all lies 2.5 mm too low, by factors 2 and 4 alike; odd factors are right.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import SimpleITK as sitk

VOXEL_MM = np.array([1.0, 1.0, 5.0])
CENTRE = np.array([20, 22, 25])
indices = np.indices((48, 48, 48))
ball = np.exp(-np.sum((indices - CENTRE[:, None, None, None]) ** 2, axis=0) / (2 * 4.0**2))
scan = sitk.GetImageFromArray(ball.T)
scan.SetSpacing(VOXEL_MM)


def moved_mm(image: sitk.Image) -> np.ndarray:
    """How far the ball's centre has moved along x, y and z."""
    values = sitk.GetArrayFromImage(image).T
    centre = [float(np.sum(axis * values) / np.sum(values)) for axis in np.indices(values.shape)]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(centre)) - CENTRE * VOXEL_MM


found = {
    "Shrink by 2": moved_mm(sitk.Shrink(scan, (2, 2, 2))),
    "Shrink by 4": moved_mm(sitk.Shrink(scan, (4, 4, 4))),
    "Shrink by 3": moved_mm(sitk.Shrink(scan, (3, 3, 3))),
    "BinShrink by 2": moved_mm(sitk.BinShrink(scan, (2, 2, 2))),
    "image[::2, ::2, ::2]": moved_mm(scan[::2, ::2, ::2]),
}
for name, moved in found.items():
    print(f"{name}: moved by {(moved.round(2) + 0.0).tolist()} mm")
even = [np.allclose(moved, -VOXEL_MM / 2, atol=0.05) for moved in (found.pop("Shrink by 2"), found.pop("Shrink by 4"))]
sys.exit(not (all(even) and all(np.allclose(moved, 0, atol=0.05) for moved in found.values())))
END
