#!/usr/bin/env bash
# ITK 5.4.7 (Python): a cropped or padded scan moves when it is given to xarray or VTK.
#
# ITK's crop, extract and pad filters keep the origin and let the region start at another index; ITK's own
# files of such an image come out in place. Expected: xarray_from_image and vtk_image_from_image, which are
# documented to keep the image's metadata, keep each voxel's place. Seen: the voxels and the origin are taken
# and the region's start is left out, so that the crop's first voxel lies where the whole scan's was: what
# starts 5 slices of 2.5 mm further up is put 12.5 mm too low, without a warning. A scan that starts at
# index 0, as every file does when it is read, is right.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    itk-filtering==5.4.7 itk-io==5.4.7 vtk==9.7.2 xarray==2026.9.0 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import itk
import numpy as np

VOXEL_MM = np.array([0.8, 0.9, 2.5])
LOWER, UPPER = np.array([3, 4, 5]), np.array([1, 2, 3])
scan = itk.image_from_array(np.arange(16 * 20 * 24, dtype=np.float32).reshape(16, 20, 24))
scan.SetSpacing(VOXEL_MM)
scan.SetOrigin([10, 20, 30])
VALUE = scan.GetPixel([6, 7, 8])
PLACE = np.array([10, 20, 30]) + [6, 7, 8] * VOXEL_MM


def off_mm(image: object, start: np.ndarray) -> np.ndarray:
    """Distance of the voxel with the value VALUE from its place; start: its image's first index in the scan."""
    index = [6, 7, 8] - start + list(image.GetLargestPossibleRegion().GetIndex())
    assert image.GetPixel(index.tolist()) == VALUE
    return np.array(image.TransformIndexToPhysicalPoint(index.tolist())) - PLACE


def file(image: object) -> object:
    itk.imwrite(image, "scan.nii.gz")
    return itk.imread("scan.nii.gz")


WAYS = {
    "as it is": lambda image: image,
    "NIfTI": file,
    "xarray": lambda image: itk.image_from_xarray(itk.xarray_from_image(image)),
    "VTK": lambda image: itk.image_from_vtk_image(itk.vtk_image_from_image(image)),
}
low, high = LOWER.tolist(), UPPER.tolist()
images = {
    "whole": scan,
    "cropped": itk.crop_image_filter(scan, lower_boundary_crop_size=low, upper_boundary_crop_size=high),
    "padded": itk.constant_pad_image_filter(scan, pad_lower_bound=low, pad_upper_bound=high, constant=-1),
}
starts = {"whole": 0 * LOWER, "cropped": LOWER, "padded": -LOWER}
seen = []
for kind, image in images.items():
    for way, convert in WAYS.items():
        off = off_mm(convert(image), starts[kind])
        kept = way in ("as it is", "NIfTI")
        seen.append(np.allclose(off, 0 if kept else -starts[kind] * VOXEL_MM, atol=0.01))
        print(f"{kind}, {way}: off by {(off.round(2) + 0.0).tolist()} mm")
vtk_image = itk.vtk_image_from_image(images["cropped"])
xarray_image = itk.xarray_from_image(images["cropped"])
first = [vtk_image.GetOrigin()[2] + vtk_image.GetExtent()[4] * VOXEL_MM[2], float(xarray_image["z"][0])]
print(f"cropped: VTK's lowest slice at z = {first[0]:g} mm, xarray's {first[1]:g} mm; true: 42.5 mm")
sys.exit(not (all(seen) and first == [30.0, 30.0]))
END
