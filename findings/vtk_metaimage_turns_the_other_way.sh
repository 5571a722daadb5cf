#!/usr/bin/env bash
# VTK 9.7.2: an oblique MetaImage (.mha) is turned the other way, the transpose of what ITK reads.
#
# Both programs read the field TransformMatrix with the same library (MetaIO), and VTK's images have a
# direction matrix. Expected: a voxel that ITK wrote has the same place in VTK. Seen: rows and columns of
# the matrix are swapped, so that a scan leaning by 20 degrees leans by 20 degrees the other way, and one
# with axes in another order has them in the reverse order. vtkMetaImageWriter swaps them as well, which
# hides it from VTK alone. Without rotation, a scan has the same place in both.
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
from vtkmodules.vtkIOImage import vtkMetaImageReader

LAST = (39, 49, 59)


def error_mm(directions: np.ndarray) -> tuple[float, bool]:
    """Distance of the last voxel between ITK and VTK, and whether VTK's matrix is the transpose."""
    scan = sitk.Image(*(count + 1 for count in LAST), sitk.sitkInt16)
    scan.SetSpacing((0.8, 0.9, 2.5))
    scan.SetOrigin((-10, -20, 30))
    scan.SetDirection(directions.ravel().tolist())
    sitk.WriteImage(scan, "scan.mha")
    reader = vtkMetaImageReader()
    reader.SetFileName("scan.mha")
    reader.Update()
    place = [0.0, 0.0, 0.0]
    reader.GetOutput().TransformIndexToPhysicalPoint(LAST, place)
    matrix = reader.GetOutput().GetDirectionMatrix()
    found = [[matrix.GetElement(row, column) for column in range(3)] for row in range(3)]
    error = np.linalg.norm(np.subtract(place, scan.TransformIndexToPhysicalPoint(LAST)))
    return float(error), np.allclose(found, directions.T)


lean = np.radians(20)
cases = {
    "straight": np.eye(3),
    "leaning": np.array(
        [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
    ),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
}
found = {name: error_mm(directions) for name, directions in cases.items()}
for name, (error, _) in found.items():
    print(f"{name}: last voxel {error:.1f} mm off")
swapped = all(transposed for _, transposed in found.values())
off = min(found["leaning"][0], found["sagittal"][0]) > 20
sys.exit(not (swapped and off and found["straight"][0] < 0.01))
END
