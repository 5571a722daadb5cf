#!/usr/bin/env bash
# imageio 2.38.1: sagittal and coronal DICOM series have slices 0 mm apart, and oblique ones too little.
#
# volread gives the distances of slices, rows and columns as meta["sampling"]. Expected: the distance of
# slices along their normal, as ITK gives it. Seen: it is the difference of the third coordinate of
# ImagePositionPatient alone, so that it is right for axial slices, 0 for sagittal and coronal ones, as most
# scans of the spine are in MR, and too small for slices along an intervertebral disc: turned by 25 degrees
# they have 2.7 mm of 3, and a volume that is measured with it is as much too small. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    imageio==2.38.1 pydicom==3.0.2 simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - <<'END'
import contextlib
import io
import sys
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, SIDE, DISTANCE_MM = 6, 8, 3.0
c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
ROWS_COLUMNS = {
    "axial": [1, 0, 0, 0, 1, 0],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "coronal": [1, 0, 0, 0, 0, -1],
    "turned by 25 degrees": [1, 0, 0, 0, c, -s],
}


def write(folder: str, directions: list[float]) -> list[str]:
    """Files of slices that lie DISTANCE_MM apart along their normal."""
    Path(folder).mkdir()
    normal = np.cross(directions[:3], directions[3:])
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for index in range(SLICES):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID, image.Modality = CTImageStorage, generate_uid(), "CT"
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.Rows = image.Columns = SIDE
        image.PixelSpacing, image.SliceThickness = [0.7, 0.9], DISTANCE_MM
        image.ImageOrientationPatient = [round(float(value), 9) for value in directions]
        image.ImagePositionPatient = [round(float(value), 6) for value in index * DISTANCE_MM * normal]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.PixelData = np.full((SIDE, SIDE), 1024 + index, "<u2").tobytes()
        paths.append(str(Path(folder, f"{index}.dcm")))
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


seen = {}
for number, (name, directions) in enumerate(ROWS_COLUMNS.items()):
    paths = write(str(number), directions)
    with contextlib.redirect_stdout(io.StringIO()):
        volume = imageio.volread(str(number), "DICOM")
    by_itk = sitk.ReadImage(paths).GetSpacing()[::-1]
    assert np.asarray(volume)[:, 0, 0].tolist() == list(range(SLICES))
    assert np.allclose(by_itk, (DISTANCE_MM, 0.7, 0.9), atol=1e-3)
    seen[name] = volume.meta["sampling"][0]
    print(f"{name}: slices {seen[name]:.2f} mm apart by imageio, {by_itk[0]:.2f} mm by ITK")
true = {"axial": DISTANCE_MM, "sagittal": 0, "coronal": 0, "turned by 25 degrees": DISTANCE_MM * c}
sys.exit(not all(abs(seen[name] - value) < 0.01 for name, value in true.items()))
END
