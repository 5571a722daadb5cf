#!/usr/bin/env bash
# MONAI 1.6.1: the augmentation RandSimulateLowResolution shifts the image against its label map.
#
# It resamples the image to a coarser grid and back, and is meant to blur. Expected: things keep their
# place, since the label map is not touched. Seen: with its default modes they move the same way along
# each axis, by 0.5 to 0.9 voxels within its default range of zooms (1.6 mm across three axes of
# 1 mm). With downsample_mode="nearest-exact" they stay.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import torch
from monai.transforms import RandSimulateLowResolution

SIDE = 48
indices = np.indices((SIDE,) * 3).astype(np.float32)
ball = np.exp(-np.sum((indices - 23.5) ** 2, axis=0) / (2 * 5.0**2))


def shift(zoom: float, **modes: str) -> np.ndarray:
    """Shift of the ball's centre in voxels (3,)."""
    transform = RandSimulateLowResolution(prob=1.0, zoom_range=(zoom, zoom), **modes)
    found = transform(torch.from_numpy(ball)[None])[0].numpy()
    return np.array([np.sum(axis * found) / np.sum(found) - 23.5 for axis in indices])


found = {zoom: shift(zoom) for zoom in (1.0, 0.9, 0.7, 0.55)}
exact = {zoom: shift(zoom, downsample_mode="nearest-exact") for zoom in found}
for zoom in found:
    print(f"zoom {zoom}: moved by {found[zoom].round(2)} voxels; nearest-exact {exact[zoom].round(2)}")
stay = all(np.abs(error).max() < 0.1 for error in (found.pop(1.0), *exact.values()))
sys.exit(not (stay and all(error.min() > 0.45 for error in found.values())))
END
