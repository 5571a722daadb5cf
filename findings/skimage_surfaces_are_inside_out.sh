#!/usr/bin/env bash
# scikit-image 0.26.0: the surface of a mask by marching_cubes is inside out.
#
# Its documentation of gradient_direction says that the default, "descent", is right for objects that are
# brighter than what is around them. Expected: triangles that run counter-clockwise seen from outside, as
# STL asks for and VTK's marching cubes writes, and so a positive volume. Seen: a ball has a volume of
# -4164 mm3 (by trimesh, and by the divergence theorem); with "ascent", meant for dark objects, or with
# the vertices' coordinates reversed from (z, y, x) to (x, y, z), it is positive.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    scikit-image==0.26.0 trimesh==5.2.0 vtk==9.7.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import trimesh
from skimage.measure import marching_cubes
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkMarchingCubes

RADIUS_MM, SIDE = 10.0, 26
distances_mm = np.linalg.norm(np.indices((SIDE,) * 3) - (SIDE - 1) / 2, axis=0)
ball = RADIUS_MM - distances_mm  # brighter inside; symmetric in its axes


def volume_mm3(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume within a closed surface; positive if faces run counter-clockwise seen from outside."""
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.sum(first * np.cross(second, third)) / 6)


vertices, faces, _, _ = marching_cubes(ball, 0.0)
of_ascent = marching_cubes(ball, 0.0, gradient_direction="ascent")[:2]
image, by_vtk = vtkImageData(), vtkMarchingCubes()
image.SetDimensions(ball.shape)
image.GetPointData().SetScalars(numpy_to_vtk(ball.ravel(order="F"), deep=True))
by_vtk.SetInputData(image)
by_vtk.SetValue(0, 0.0)
by_vtk.Update()
surface = by_vtk.GetOutput()
points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
found = {
    "descent": volume_mm3(vertices, faces),
    "descent, trimesh": float(trimesh.Trimesh(vertices, faces, process=False).volume),
    "descent, reversed coordinates": volume_mm3(vertices[:, ::-1], faces),
    "ascent": volume_mm3(*of_ascent),
    "VTK": volume_mm3(points, triangles),
}
known = 4 / 3 * np.pi * RADIUS_MM**3
print(f"known: {known:.0f} mm3")
for name, volume in found.items():
    print(f"{name}: {volume:.0f} mm3")
signs = [round(volume / known, 1) for volume in found.values()]
sys.exit(signs != [-1, -1, 1, 1, 1])
END
