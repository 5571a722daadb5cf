#!/usr/bin/env bash
# VTK 9.7.2: an oblique NRRD image keeps its origin and spacing and loses its axes.
#
# VTK's images have a direction matrix, and an NRRD header states directions. Expected: vtkNrrdReader
# takes them over, or says that it cannot. Seen: spacing and origin are the header's, the directions are
# those of the coordinate axes, so that voxels lie the more out of place the farther they are from the
# first one. (The limits that the class's documentation lists are encodings and detached headers.)
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
    vtk==9.7.2 simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import SimpleITK as sitk
from vtkmodules.vtkIOImage import vtkNrrdReader

lean = np.radians(20)
scan = sitk.Image(40, 50, 60, sitk.sitkInt16)
scan.SetSpacing((0.8, 0.9, 2.5))
scan.SetOrigin((-10, -20, 30))
scan.SetDirection((1, 0, 0, 0, np.cos(lean), -np.sin(lean), 0, np.sin(lean), np.cos(lean)))
sitk.WriteImage(scan, "scan.nrrd")
reader = vtkNrrdReader()
reader.SetFileName("scan.nrrd")
reader.Update()
image = reader.GetOutput()

kept = np.allclose(image.GetOrigin(), scan.GetOrigin())
kept &= np.allclose(image.GetSpacing(), scan.GetSpacing())
errors_mm = []
for index in ((0, 0, 0), (39, 49, 59)):
    place = np.array(sitk.ReadImage("scan.nrrd").TransformIndexToPhysicalPoint(index))
    found = [0.0, 0.0, 0.0]
    image.TransformIndexToPhysicalPoint(index, found)
    errors_mm.append(float(np.linalg.norm(place - found)))
print(f"origin and spacing as written: {bool(kept)}")
print("first voxel %.1f mm off, last voxel %.1f mm off" % tuple(errors_mm))
sys.exit(not (kept and errors_mm[0] < 0.01 and errors_mm[1] > 30))
END
