#!/usr/bin/env bash
# TorchMetrics 1.9.0: the Hausdorff distance of two masks is wrong in slices with more columns than rows.
#
# Masks may have any numbers of rows and columns. Expected: two boxes that lie 5 pixels beside each other
# are 5 apart, whatever the slice's size. Seen with hausdorff_distance: 5 in 40 x 40 pixels, 22.8 in
# 40 x 60, and 21.6 in 40 x 80, since distances are put back into the slice as if it were square. Nothing
# warns; with more rows than columns there is an error.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'END'
import sys

import numpy as np
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torchmetrics.functional.segmentation import hausdorff_distance


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask]).astype(np.int64))[None]


found = {}
for columns in (40, 60, 80):
    truth = np.zeros((40, columns), bool)
    truth[10:20, 10:20] = True
    mask = np.roll(truth, 5, axis=1)
    outlines = [part & ~binary_erosion(part) for part in (truth, mask)]
    true = max(
        distance_transform_edt(~outlines[1])[outlines[0]].max(),
        distance_transform_edt(~outlines[0])[outlines[1]].max(),
    )
    distance = float(hausdorff_distance(one_hot(mask), one_hot(truth), num_classes=2))
    found[columns] = distance
    print(f"40 rows, {columns} columns: {distance:.2f} pixels; true: {true:g}")
    assert true == 5
sys.exit(not (found[40] == 5 and found[60] > 20 and found[80] > 20))
END
