#!/usr/bin/env bash
# dicom-numpy 0.6.5: the affine of a tilted-gantry CT leads beside the patient, and no check notices.
#
# combine_slices is documented to give the affine from voxels to patient coordinates, and to raise an
# exception unless slices form a grid and their positions a line. Positions of a tilted gantry do form a
# line, which is not at right angles to the slices. Expected: an affine with that line as its third axis,
# or the exception. Seen: the third axis is the slices' normal, so that the first slice lies right and each
# further one lies off by more: 62 mm after 90 slices of 2 mm, tilted by 20 degrees. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dicom-numpy==0.6.5 pydicom==3.0.2 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys
from pathlib import Path

import numpy as np
from dicom_numpy import combine_slices
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SLICES, STEP_MM = 20, 24, 91, 2.0


def scan(tilt: float) -> list[Dataset]:
    """Slices that the table's feed moves straight up; each holds its own number at row 12, column 5."""
    study, series, frame = (generate_uid() for _ in range(3))
    slices = []
    for number in range(1, SLICES + 1):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.InstanceNumber = "CT", number
        image.Rows, image.Columns, image.PixelSpacing = ROWS, COLUMNS, [0.9, 0.8]
        image.SliceThickness, image.GantryDetectorTilt = 2, tilt
        lean = np.radians(tilt)
        image.ImageOrientationPatient = [1, 0, 0, 0, *np.round([np.cos(lean), np.sin(lean)], 12)]
        image.ImagePositionPatient = [10, -20, 30 + STEP_MM * (number - 1)]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
        voxels = np.zeros((ROWS, COLUMNS), "<i2")
        voxels[12, 5] = number
        image.PixelData = voxels.tobytes()
        slices.append(image)
    return slices


def off(tilt: float) -> list[float]:
    """Distances in mm of the first, second and last slice's voxel from where their headers put it."""
    slices = scan(tilt)
    volume, affine = combine_slices(slices)
    distances = []
    for number in (1, 2, SLICES):
        image = slices[number - 1]
        along = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        true = np.array(image.ImagePositionPatient, float) + along[0] * 5 * 0.8 + along[1] * 12 * 0.9
        found = affine @ [*np.argwhere(volume == number)[0], 1]
        distances.append(float(np.linalg.norm(found[:3] - true)))
    return distances


found = {tilt: off(tilt) for tilt in (0.0, 20.0)}
for tilt, (first, second, last) in found.items():
    print(f"tilt {tilt:g}: slice 1 is off by {first:.2f} mm, slice 2 by {second:.2f}, slice {SLICES} by {last:.2f}")
quiet = not Path("log").read_text()
sys.exit(not (quiet and max(found[0.0]) < 0.01 and found[20.0][0] < 0.01 and 60 < found[20.0][2] < 63))
END
