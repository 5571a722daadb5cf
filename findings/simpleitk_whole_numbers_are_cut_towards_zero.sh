#!/usr/bin/env bash
# SimpleITK 2.5.7: resampling or smoothing a CT of whole numbers takes HU off bone and adds them to air.
#
# Images of int16 stay int16, so results must become whole numbers. Expected: they are rounded, as scipy
# (and with it nibabel's resampling) does, so that means stay. Seen: fractions are cut off towards 0, so
# that bone loses half an HU with each Resample and air gains one; DiscreteGaussian cuts after each axis
# and loses 1.5 HU, as do three resamplings. BinShrink and SmoothingRecursiveGaussian round; with voxels of
# float32 all is well.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check simpleitk==2.5.7 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'END'
import sys

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import shift

INNER = (slice(8, -8),) * 3
noise = np.random.default_rng(0).normal(0, 40, (40, 40, 40))


def resample(image: sitk.Image, times: int = 1) -> sitk.Image:
    for _ in range(times):
        image = sitk.Resample(image, sitk.TranslationTransform(3, (0.3, 0.3, 0.3)))
    return image


def bias(operation, hu: int) -> float:
    """Mean difference in HU between the result for int16 and that for float32."""
    image = sitk.GetImageFromArray(np.rint(noise + hu).astype(np.int16))
    found = sitk.GetArrayFromImage(operation(image)).astype(float)
    exact = sitk.GetArrayFromImage(operation(sitk.Cast(image, sitk.sitkFloat32)))
    return float(np.mean((found - exact)[INNER]))


operations = {
    "Resample": resample,
    "three times": lambda image: resample(image, 3),
    "DiscreteGaussian": lambda image: sitk.DiscreteGaussian(image, 1.0),
    "BinShrink": lambda image: sitk.BinShrink(image, (2, 2, 2)),
}
found = {name: (bias(run, 400), bias(run, -900)) for name, run in operations.items()}
for name, (bone, air) in found.items():
    print(f"{name}: bone {bone:+.2f} HU, air {air:+.2f} HU")
bone = np.rint(noise + 400)
scipy_bias = np.mean((shift(bone.astype(np.int16), -0.3, order=1) - shift(bone, -0.3, order=1))[INNER])
print(f"scipy, shifted likewise: bone {scipy_bias:+.2f} HU")
cut = all(
    -step - 0.1 < found[name][0] < -step + 0.1 and step - 0.1 < found[name][1] < step + 0.1
    for name, step in (("Resample", 0.5), ("three times", 1.5), ("DiscreteGaussian", 1.5))
)
exact = all(abs(value) < 0.1 for value in (*found["BinShrink"], scipy_bias))
sys.exit(not (cut and exact))
END
