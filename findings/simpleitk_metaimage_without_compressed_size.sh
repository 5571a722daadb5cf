#!/usr/bin/env bash
# SimpleITK 2.5.7: a compressed MetaImage without CompressedDataSize is read with other voxels.
#
# The field is optional: the stream ends by itself, and readers know the size of the voxels. Expected:
# the voxels, or an error. Seen: ReadImage prints "Uncompress failed" on stderr, raises nothing and
# returns an image of the right shape whose voxels are whatever its memory held.
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
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

voxels = np.random.default_rng(0).normal(40, 300, (20, 30, 40)).astype("<i2")
packed = zlib.compress(voxels.tobytes())


def share_that_differs(size_field: str) -> float:
    header = f"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = True
{size_field}TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 1 1 1
DimSize = 40 30 20
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
    Path("scan.mha").write_bytes(header.encode() + packed)
    return float(np.mean(sitk.GetArrayFromImage(sitk.ReadImage("scan.mha")) != voxels))


# First, so that no memory of an earlier image is at hand.
left_out = share_that_differs("")
stated = share_that_differs(f"CompressedDataSize = {len(packed)}\n")
print(f"voxels that differ: {stated:.1%} with the size stated, {left_out:.1%} without")
sys.exit(not (stated == 0 and left_out > 0.9))
END
