#!/usr/bin/env bash
# MONAI 1.6.1: RemoveSmallObjects leaves specks in a map of several labels, and takes them from a mask of one.
#
# It is documented to take a map that is not one-hot, and by default (independent_channels=True) to remove
# islands that touch other labels too. Expected: pieces of any label below min_size go. Seen: as soon as
# a label above 1 is in the map, all voxels of a label count as one object, wherever they lie, so that a
# speck far from its vertebra stays, with connectivity, min_size and by_measure as they may be. The mask
# of that label alone, or one-hot channels, are cleaned; independent_channels=False cleans what is far.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    monai==1.6.1 torch==2.13.0 numpy==2.4.6 scikit-image==0.26.0

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import torch
from monai.transforms import RemoveSmallObjects

L1, L2 = 20, 21
labels = np.zeros((1, 24, 24, 24), np.int64)
labels[0, 2:10, 2:10, 2:10] = L1
labels[0, 2:10, 2:10, 10:18] = L2
labels[0, 22, 22, 22] = L1


def left(voxels: np.ndarray, **options: bool) -> int:
    """Voxels of the speck and the vertebra L1 that are left."""
    found = RemoveSmallObjects(min_size=27, **options)(torch.from_numpy(voxels))
    return int(torch.count_nonzero(found))


whole = {name: int(np.count_nonzero(voxels)) for name, voxels in (("map", labels), ("mask", labels == L1))}
found = {
    "label map": whole["map"] - left(labels),
    "label map, by_measure": whole["map"] - left(labels, by_measure=True),
    "label map, independent_channels=False": whole["map"] - left(labels, independent_channels=False),
    "mask of L1": whole["mask"] - left((labels == L1).astype(np.int64)),
    "one-hot": whole["map"] - left(np.concatenate([labels == L1, labels == L2]).astype(np.int64)),
}
for name, removed in found.items():
    print(f"{name}: {removed} voxels removed; true: 1")
sys.exit(list(found.values()) != [0, 0, 1, 1, 1])
END
