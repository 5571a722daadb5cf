#!/usr/bin/env bash
# ANTsPy 0.6.3: label_image_centroids gives a place where the label is not.
#
# It is documented to give the places of an image's labels, in voxels or, with physical=True, in mm.
# Expected: the mean of a label's voxels, as get_center_of_mass and ITK's shape statistics give it.
# Seen: voxels in both cases, and not the label's: coordinates are numbered with the first axis running
# fastest and voxels are taken with the last one fastest, so a cubic image has its first and last axis
# swapped, and any other image places outside the label.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check antspyx==0.6.3 simpleitk==2.5.7 numpy==2.3.5

venv/bin/python - <<'END'
import sys

import ants
import numpy as np
import SimpleITK as sitk

SPACING_MM = (0.8, 0.9, 2.5)


def centres(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Centre in mm of a box of voxels 4-9, 12-19 and 20-25, known and by three functions."""
    voxels = np.zeros(shape, np.float32)
    voxels[4:10, 12:20, 20:26] = 20
    image = ants.from_numpy(voxels, spacing=SPACING_MM)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    copy = sitk.GetImageFromArray(voxels.T.astype(np.uint8))
    copy.SetSpacing(SPACING_MM)
    statistics.Execute(copy)
    return {
        "known": np.array([6.5, 15.5, 22.5]) * SPACING_MM,
        "ITK": np.array(statistics.GetCentroid(20)),
        "mass": np.array(ants.get_center_of_mass(image)),
        "centroids": np.ravel(ants.label_image_centroids(image, physical=True)["vertices"]),
    }


others_right, by_voxel = True, []
for shape in ((32, 32, 32), (40, 36, 32)):
    found = centres(shape)
    print(shape, *(f"{name}: {np.round(place, 1).tolist()}" for name, place in found.items()))
    others_right &= np.allclose([found["mass"], found["ITK"]], found["known"])
    by_voxel.append(found["centroids"])
outside = np.any((by_voxel[1] < [4, 12, 20]) | (by_voxel[1] > [9, 19, 25]))
sys.exit(not (others_right and np.allclose(by_voxel[0], [22.5, 15.5, 6.5]) and outside))
END
