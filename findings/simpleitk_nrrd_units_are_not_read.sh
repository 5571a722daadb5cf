#!/usr/bin/env bash
# SimpleITK 2.5.7: an NRRD scan whose header gives its lengths in cm is read with voxels a tenth as long.
#
# NRRD states the unit of each axis of its space (field `space units` of its format). Expected: mm,
# as SimpleITK makes of a NIfTI file in metres or micrometres, since all else takes its lengths for mm.
# Seen: the numbers are taken as mm and the unit is not even kept among the image's fields, so that
# volumes are a thousandth. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check simpleitk==2.5.7 nibabel==5.4.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

VOXEL_MM = np.array([1.0, 1.0, 2.5])
voxels = np.arange(60, dtype="<i2").reshape(3, 4, 5)
UNITS = {"meter": ("m", 1000), "mm": ("mm", 1), "micron": ("um", 0.001)}

found = {}
for name, (_, mm) in UNITS.items():
    image = nib.Nifti1Image(voxels, np.diag([*VOXEL_MM / mm, 1]))
    image.header.set_xyzt_units(name)
    nib.save(image, "scan.nii")
    found["NIfTI", name] = sitk.ReadImage("scan.nii").GetSpacing()

for unit, mm in (("mm", 1), ("cm", 10), *UNITS.values()):
    x, y, z = VOXEL_MM / mm
    header = f"""NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 3 4 5
space directions: ({x},0,0) (0,{y},0) (0,0,{z})
space origin: (0,0,0)
space units: "{unit}" "{unit}" "{unit}"
endian: little
encoding: raw

"""
    Path("scan.nrrd").write_bytes(header.encode() + voxels.tobytes(order="F"))
    scan = sitk.ReadImage("scan.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(scan).T, voxels)
    assert not any("unit" in key for key in scan.GetMetaDataKeys())
    found["NRRD", unit] = scan.GetSpacing()

for (form, unit), spacing in found.items():
    print(f"{form} in {unit}: voxels of {tuple(round(side, 6) for side in spacing)}; true: 1, 1, 2.5 mm")
nifti = all(np.allclose(spacing, VOXEL_MM) for (form, _), spacing in found.items() if form == "NIfTI")
tenth = np.allclose(found["NRRD", "cm"], VOXEL_MM / 10) and np.allclose(found["NRRD", "m"], VOXEL_MM / 1000)
sys.exit(not (nifti and tenth))
END
