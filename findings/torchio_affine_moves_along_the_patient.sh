#!/usr/bin/env bash
# TorchIO 1.2.1: translations of RandomAffine go along the patient's axes, not along the image's.
#
# The documentation of RandomAffine says where an image with axes to the back, down and the right (PIR) goes
# with a translation of (10, 20, 30): 10 mm to the back, 20 mm down, 30 mm to the right. Expected: that, so
# that ranges per axis are ranges per axis of the image. Seen: 10 mm to the right, 20 mm to the front and
# 30 mm up, as for any other image, and scales and degrees take the patient's axes too; what is meant for
# the slices' axis of sagittal scans happens along another.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    torchio==1.2.1 torch==2.13.0 simpleitk==2.5.7 nibabel==5.4.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import torch
import torchio as tio

SIDE = 110
places = torch.stack(torch.meshgrid(*[torch.arange(float(SIDE))] * 3, indexing="ij"), dim=-1)
ball = 100 * torch.exp(-torch.linalg.norm(places - (SIDE - 1) / 2, dim=-1) ** 2 / 50)
AFFINES = {
    "RAS": np.eye(4),
    "PIR": np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),  # columns: back, down, right
}


def middle(image: tio.ScalarImage) -> np.ndarray:
    """The ball's middle in the patient: mm to the right, the front and up."""
    values = image.data[0]
    index = (places * values[..., None]).sum(dim=(0, 1, 2)) / values.sum()
    return image.affine[:3, :3] @ index.numpy() + image.affine[:3, 3]


moved = {}
for name, affine in AFFINES.items():
    before = tio.ScalarImage(tensor=ball[None], affine=affine)
    assert "".join(before.orientation) == name
    # A range of one value for each axis, so nothing is left to chance.
    transform = tio.RandomAffine(scales=(1, 1), degrees=0, translation=(10, 10, 20, 20, 30, 30))
    moved[name] = middle(transform(before)) - middle(before)
    print(f"{name}: (10, 20, 30) moves by {np.round(moved[name], 1).tolist()} mm to the right, the front and up")
documented = np.array([30, -10, -20])
print(f"PIR as documented: {documented.tolist()}")
same = all(np.allclose(step, [10, 20, 30], atol=0.3) for step in moved.values())
sys.exit(not same)
END
