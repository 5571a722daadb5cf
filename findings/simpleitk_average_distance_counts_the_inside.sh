#!/usr/bin/env bash
# SimpleITK 2.5.7: the average Hausdorff distance of two masks falls as the masks grow.
#
# Expected of HausdorffDistanceImageFilter.GetAverageHausdorffDistance: a mean distance between outlines,
# so balls whose radii differ by 1 mm have about 1 mm, whatever their size, and MONAI's symmetric surface
# distance says so. Seen: the mean is taken over all labelled voxels, and those inside both masks count
# with 0 mm: 0.17 mm for radii of 8 and 9 mm, 0.06 mm for 26 and 27 mm. The maximum is not affected.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    simpleitk==2.5.7 monai==1.6.1 torch==2.13.0 scipy==1.17.1 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import SimpleITK as sitk
import torch
from monai.metrics import compute_average_surface_distance

SIDE = 64
squares = np.sum((np.indices((SIDE,) * 3) - SIDE // 2) ** 2, axis=0)


def distances_mm(radius_mm: int) -> tuple[float, float, float]:
    """Largest and average distance by ITK and the average by MONAI, to a ball 1 mm wider."""
    masks = [(squares <= radius**2).astype(np.uint8) for radius in (radius_mm, radius_mm + 1)]
    by_itk = sitk.HausdorffDistanceImageFilter()
    by_itk.Execute(*(sitk.GetImageFromArray(mask) for mask in masks))
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in masks]
    by_monai = compute_average_surface_distance(*tensors, include_background=True, symmetric=True)
    largest, average = by_itk.GetHausdorffDistance(), by_itk.GetAverageHausdorffDistance()
    return largest, average, by_monai.item()


found = {radius_mm: distances_mm(radius_mm) for radius_mm in (8, 16, 26)}
for radius_mm, (largest, average, by_monai) in found.items():
    print(f"{radius_mm} mm: largest {largest:.2f}, average {average:.3f}, MONAI's average {by_monai:.2f}")
falls = found[8][1] > 2 * found[26][1] and max(average for _, average, _ in found.values()) < 0.3
near = all(0.8 < by_monai < 1.3 and 1 <= largest < 1.5 for largest, _, by_monai in found.values())
sys.exit(not (falls and near))
END
