#!/usr/bin/env bash
# VTK 9.7.2: a surface cuts its own inside out of a leaning scan centimetres beside it.
#
# vtkPolyDataToImageStencil and vtkImageStencil blank a scan outside a surface. Expected: what is left
# are the voxels within the surface. Seen: the stencil is made for the scan's spacing, origin and extent
# (its documentation names these three) but is applied by index, so that the direction matrix is lost:
# with slices leaning by 20 degrees, what is left of a scan lies 14 mm from the ball that it was cut with.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps vtk==9.7.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import VTK_UNSIGNED_CHAR
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkImagingStencil import vtkImageStencil, vtkPolyDataToImageStencil

SHAPE, SPACING_MM, ORIGIN_MM = (40, 50, 30), (0.8, 0.9, 2.5), (-10.0, -20.0, 30.0)
CENTRE, RADIUS_MM = (15, 30, 12), 10.0


def errors(degrees: float) -> tuple[float, float, float]:
    """Distances in mm of what is left and of the surface from the ball's centre; share of its volume."""
    lean = np.radians(degrees)
    directions = np.array(
        [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
    )
    scan = vtkImageData()
    scan.SetDimensions(SHAPE)
    scan.SetSpacing(SPACING_MM)
    scan.SetOrigin(ORIGIN_MM)
    scan.SetDirectionMatrix(directions.ravel().tolist())
    scan.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    scan.GetPointData().GetScalars().Fill(1)
    centre = [0.0, 0.0, 0.0]
    scan.TransformIndexToPhysicalPoint(CENTRE, centre)
    ball = vtkSphereSource()
    ball.SetCenter(centre)
    ball.SetRadius(RADIUS_MM)
    ball.SetThetaResolution(60)
    ball.SetPhiResolution(60)
    ball.Update()
    surface = np.reshape(ball.GetOutput().GetBounds(), (3, 2)).mean(axis=1)
    stencil, cut = vtkPolyDataToImageStencil(), vtkImageStencil()
    stencil.SetInputConnection(ball.GetOutputPort())
    stencil.SetInformationInput(scan)
    cut.SetInputData(scan)
    cut.SetStencilConnection(stencil.GetOutputPort())
    cut.SetBackgroundValue(0)
    cut.Update()
    voxels = vtk_to_numpy(cut.GetOutput().GetPointData().GetScalars()).reshape(SHAPE, order="F") > 0
    place = [0.0, 0.0, 0.0]
    cut.GetOutput().TransformContinuousIndexToPhysicalPoint(np.argwhere(voxels).mean(axis=0), place)
    volume = voxels.sum() * np.prod(SPACING_MM) / (4 / 3 * np.pi * RADIUS_MM**3)
    error, of_surface = (float(np.linalg.norm(np.subtract(found, centre))) for found in (place, surface))
    return error, of_surface, float(volume)


straight, leaning = errors(0), errors(20)
for name, (error, of_surface, volume) in (("straight", straight), ("leaning", leaning)):
    print(f"{name}: cut out {error:.2f} mm off, surface {of_surface:.2f} mm off; volume {volume:.0%}")
sys.exit(not (straight[0] < 0.5 and leaning[0] > 10 and max(straight[1], leaning[1]) < 0.1))
END
