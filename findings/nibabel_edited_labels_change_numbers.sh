#!/usr/bin/env bash
# nibabel 5.4.2: a label map that was edited and saved with its own header can come back with other labels.
#
# The usual way: get_fdata(), change some voxels, save with the image's affine and header. Labels are whole
# numbers, and the header's uint8 holds every one of them. Expected: they are stored as they are. Seen:
# because the array is of floats, the file gets a slope that spreads 0 to the highest label over 0 to 255,
# and label 20 of 24 is read as 19.95. What cuts off fractions makes L1 to T12: astype, nibabel's own
# np.asarray(image.dataobj, np.uint8), SimpleITK's ReadImage(file, sitkUInt8). Rounding gives the labels.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    nibabel==5.4.2 numpy==2.4.6 simpleitk==2.5.7

venv/bin/python - <<'END'
import sys

import nibabel as nib
import numpy as np
import SimpleITK as sitk

true = np.zeros((8, 8, 8), np.uint8)
true[1:] = np.arange(17, 25)
nib.save(nib.Nifti1Image(true, np.eye(4)), "labels.nii.gz")

image = nib.load("labels.nii.gz")
edited = image.get_fdata()
edited[2] = 0
true[2] = 0
nib.save(nib.Nifti1Image(edited, image.affine, image.header), "edited.nii.gz")

stored = nib.load("edited.nii.gz")
values = stored.get_fdata()
found = {
    "astype": values.astype(np.uint8),
    "dataobj": np.asarray(stored.dataobj, np.uint8),
    "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage("edited.nii.gz", sitk.sitkUInt8)).T,
    "rounded": np.rint(values).astype(np.uint8),
}
print(f"stored as {stored.get_data_dtype()}, slope {stored.dataobj.slope:.5f}, inter {stored.dataobj.inter:g}")
print("values of 17 to 24:", np.unique(values)[1:].round(2))
wrong = {}
for name, labels in found.items():
    wrong[name] = [int(label) for label in np.unique(true) if np.any(labels[true == label] != label)]
    print(f"{name}: labels that came back as others: {wrong[name] or 'none'}")
moved = all(20 in wrong[name] for name in ("astype", "dataobj", "SimpleITK"))
sys.exit(not (stored.get_data_dtype() == np.uint8 and moved and not wrong["rounded"]))
END
