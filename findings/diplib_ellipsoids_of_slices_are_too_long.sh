#!/usr/bin/env bash
# DIPlib 3.6.1: the axes of a label's ellipsoid are five times too long, or no number, in slices of 2.5 mm.
#
# MeasurementTool measures 3-D labels in the image's pixel size; DimensionsEllipsoid gives the axes of the
# ellipsoid with the same moments, in mm. Expected: 20, 20 and 20 mm for a ball of 20 mm, however its voxels
# are shaped; that is what comes out of voxels of 0.5 mm, and Size and Gravity are right in both. Seen:
# where such voxels lie in slices 2.5 mm apart, 101 and 101 mm and NaN. The tensor of inertia (Mu) is summed
# up in pixels, and its element of an axis is multiplied by that axis's pixel size, although it is made of
# the two other axes. Inertia and DimensionsCube are as wrong, and P2A, the roundness from surface and
# volume, is 1.9 instead of 1, because it takes the surface in pixels and the volume in mm.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check diplib==3.6.1 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import diplib as dip
import numpy as np

FEATURES = ("Size", "Gravity", "DimensionsEllipsoid", "Mu", "P2A")
RADIUS_MM = 10.0
VOLUME_MM3 = 4 / 3 * np.pi * RADIUS_MM**3


def measure(spacing_mm: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """DIPlib's measures of a ball in the scan's middle; the axes x, y and z."""
    halves = [int(RADIUS_MM / length) + 4 for length in spacing_mm]
    axes = [np.arange(-half, half + 1) * length for half, length in zip(halves, spacing_mm)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    labels = (x**2 + y**2 + z**2 <= RADIUS_MM**2).astype(np.uint32)
    image = dip.Image(labels.transpose(2, 1, 0).copy())  # DIPlib's first axis is NumPy's last
    image.SetPixelSize([dip.PhysicalQuantity(length, "mm") for length in spacing_mm])
    found = dip.MeasurementTool.Measure(image, image, list(FEATURES))
    values = {name: np.array(found[1][name]) for name in FEATURES}
    middle = np.multiply(halves, spacing_mm)
    assert np.allclose(values["Gravity"], middle, atol=0.01)
    assert abs(values["Size"][0] / VOLUME_MM3 - 1) < 0.02
    return values


cubes, slices = measure((0.5, 0.5, 0.5)), measure((0.5, 0.5, 2.5))
for name, values in (("voxels of 0.5 mm", cubes), ("slices of 2.5 mm", slices)):
    print(f"{name}: " + "; ".join(f"{key} {values[key].round(2).tolist()}" for key in FEATURES))
right = np.allclose(cubes["DimensionsEllipsoid"], 20, atol=0.1) and abs(cubes["P2A"][0] - 1) < 0.02
lengths, true_inertia = slices["DimensionsEllipsoid"], 2 / 5 * RADIUS_MM**2
right = right and np.allclose(cubes["Mu"][:3], true_inertia, rtol=0.01)
sys.exit(not (right and lengths[0] > 90 and slices["Mu"][2] > 900 and np.isnan(lengths[2]) and slices["P2A"][0] > 1.8))
END
