#!/usr/bin/env bash
# SimpleITK 2.5.7: resampling a label map onto its own grid with sitkLabelGaussian takes thin parts away.
#
# It is one of three interpolators for label maps. Expected: labels as they were at the places of voxels,
# as nearest neighbour and sitkLabelLinear give them. Seen: each label is smoothed over its neighbours
# first, so a plate and a rod one voxel thick (a lamina, the tip of a process in a scan of 2 mm) are gone,
# and thicker parts lose their edges and ends, without any change of resolution.
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

PARTS = {
    "block": (slice(4, 16), slice(4, 16), slice(4, 16)),
    "rod 2 wide": (slice(24, 26), slice(24, 26), slice(4, 30)),
    "rod 1 wide": (slice(4, 5), slice(24, 25), slice(4, 30)),
    "plate": (slice(20, 21), slice(4, 20), slice(4, 20)),
}
labels = np.zeros((32, 32, 34), np.uint8)
for value, part in enumerate(PARTS.values(), start=1):
    labels[part] = value
image = sitk.GetImageFromArray(labels)


def kept(interpolator: int) -> dict[str, float]:
    """Share of each part that keeps its label."""
    found = sitk.GetArrayFromImage(sitk.Resample(image, image, sitk.Transform(), interpolator))
    return {
        name: float(np.mean(found[labels == value] == value))
        for value, name in enumerate(PARTS, start=1)
    }


found = {
    "nearest neighbour": kept(sitk.sitkNearestNeighbor),
    "label linear": kept(sitk.sitkLabelLinear),
    "label Gaussian": kept(sitk.sitkLabelGaussian),
}
for name, shares in found.items():
    print(f"{name}:", ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))
gaussian = found.pop("label Gaussian")
same = all(share == 1 for shares in found.values() for share in shares.values())
gone = gaussian["rod 1 wide"] == 0 and gaussian["plate"] == 0
sys.exit(not (same and gone and gaussian["rod 2 wide"] < 0.95))
END
