#!/usr/bin/env bash
# VTK 9.7.2: vtkDICOMImageReader reads negative voxels as large positive ones if RescaleSlope is 0.5.
#
# PixelRepresentation 1 says that stored values are signed, whatever the slope (PS3.3 C.7.6.3).
# Expected: -1000 HU, stored as -2000 with slope 0.5. Seen: 31768; with slope 1, and with slope 0.5
# of values that are not negative, the same reader is right. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
    vtk==9.7.2 pydicom==3.0.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from vtkmodules.vtkIOImage import vtkDICOMImageReader

SIDE = 16


def read_hu(name: str, hu: int, slope: float) -> float:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID, image.Modality = generate_uid(), "CT"
    image.Rows = image.Columns = SIDE
    image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [1, 1], 2, 1
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, 0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, 0, "HU"
    image.PixelData = np.full((SIDE, SIDE), hu / slope, "<i2").tobytes()
    image.save_as(name, enforce_file_format=True)
    reader = vtkDICOMImageReader()
    reader.SetFileName(name)
    reader.Update()
    return reader.GetOutput().GetScalarComponentAsDouble(3, 3, 0, 0)


cases = (("a.dcm", -1000, 1), ("b.dcm", 40, 0.5), ("c.dcm", -1000, 0.5))
found = [read_hu(*case) for case in cases]
for (_, hu, slope), value in zip(cases, found):
    print(f"{hu} HU with slope {slope}: {value:g}")
sys.exit(found != [-1000, 40, -1000 + 32768])
END
