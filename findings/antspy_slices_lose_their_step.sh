#!/usr/bin/env bash
# ANTsPy 0.6.3: image[::2] is the whole image, and image[::-1] is not turned round.
#
# Images are indexed as numpy's arrays are, and a slice from 2 to 10 gives the part of the image with its
# place. Expected of a slice with a step: every second or third voxel, or the voxels in reverse, or an
# error. Seen: the step is ignored without a word; setting voxels by such a slice, which goes through
# numpy, keeps to it, so that what is written to image[::2] is not what image[::2] reads.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check antspyx==0.6.3 numpy==2.3.5

venv/bin/python - <<'END'
import sys

import ants
import numpy as np

voxels = np.arange(12 * 10 * 8, dtype=np.float32).reshape(12, 10, 8)
image = ants.from_numpy(voxels, spacing=(1, 1.5, 2))

CUTS = {
    "2:10": np.s_[2:10, :, :],
    "::2": np.s_[::2, :, :],
    "2:10:3": np.s_[2:10:3, :, :],
    "::-1": np.s_[::-1, :, :],
}
right, ignored = {}, {}
for name, cut in CUTS.items():
    found = image[cut].numpy()
    right[name] = np.array_equal(found, voxels[cut])
    ignored[name] = np.array_equal(found, voxels[slice(cut[0].start, cut[0].stop)])
    print(f"image[{name}]: {found.shape[0]} planes; numpy: {voxels[cut].shape[0]}; equal: {right[name]}")
written = image.clone()
written[::2, :, :] = -1
planes = np.flatnonzero((written.numpy() == -1).all(axis=(1, 2)))
print(f"image[::2] = -1 sets planes {planes.tolist()}")
set_right = planes.tolist() == list(range(0, 12, 2))
sys.exit(not (list(right.values()) == [True, False, False, False] and all(ignored.values()) and set_right))
END
