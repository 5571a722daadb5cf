#!/usr/bin/env bash
# mahotas 1.4.19: convolve gives derivatives the opposite sign and smears a scan to the other side.
#
# convolve and convolve1d are documented as the convolution of an image and weights. Expected: what scipy's
# and ITK's convolution give: one voxel becomes a copy of the kernel, and (1, 0, -1) / 2 is the derivative.
# Seen: the weights are not mirrored (it is the correlation), so that where HU rise by 10 a slice the
# derivative is -10, bone's edges point inwards instead of outwards, and a lopsided point spread function
# lies mirrored around each voxel. Symmetric kernels are right, in two dimensions and in three alike.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    mahotas==1.4.19 numpy==2.4.6 scipy==1.17.1 simpleitk==2.5.7

venv/bin/python - <<'END'
import sys

import mahotas
import numpy as np
import SimpleITK as sitk
from scipy import ndimage


def by_itk(scan: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    images = [sitk.GetImageFromArray(values) for values in (scan, kernel)]
    return sitk.GetArrayFromImage(sitk.Convolution(*images))


WAYS = {"mahotas": mahotas.convolve, "scipy": ndimage.convolve, "ITK": by_itk}
rising = np.broadcast_to(10.0 * np.arange(9)[:, None, None], (9, 9, 9)).copy()
derivative = np.zeros((3, 3, 3))
derivative[:, 1, 1] = (0.5, 0, -0.5)
voxel = np.zeros((9, 9, 9))
voxel[4, 4, 4] = 1
spread = np.random.default_rng(0).random((3, 3, 3))
even = (spread + spread[::-1, ::-1, ::-1]) / 2

found = {}
for name, convolve in WAYS.items():
    slope = float(convolve(rising, derivative)[4, 4, 4])
    copy, of_even = (convolve(voxel, kernel)[3:6, 3:6, 3:6] for kernel in (spread, even))
    found[name] = (slope, np.allclose(copy, spread), np.allclose(copy[::-1, ::-1, ::-1], spread))
    assert np.allclose(of_even, even)
    copied, mirrored = found[name][1:]
    print(f"{name}: derivative {slope:g}, true 10; kernel from one voxel: {copied}, mirrored: {mirrored}")
lines = {
    "mahotas": mahotas.convolve1d(rising, np.array([0.5, 0, -0.5]), 0)[4, 4, 4],
    "scipy": ndimage.convolve1d(rising, [0.5, 0, -0.5], 0)[4, 4, 4],
}
print("derivative by convolve1d:", {name: float(slope) for name, slope in lines.items()})
right = found["scipy"] == found["ITK"] == (10, True, False) and lines["scipy"] == 10
sys.exit(not (right and found["mahotas"] == (-10, False, True) and lines["mahotas"] == -10))
END
