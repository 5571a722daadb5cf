#!/usr/bin/env bash
# ANTsPy 0.6.3: dicom_read stacks slices in the order of the folder's listing, at a wrong distance.
#
# Expected: one image with every slice at its ImagePositionPatient, as SimpleITK's series reader gives it.
# Seen: slices lie in whatever order the file system lists the files, so names decide about the patient's
# vertebrae; the distance of slices is that of the first file read alone: 1 mm, though slices of 2 mm lie
# 2 mm apart (a series need not state SpacingBetweenSlices); and the origin is that of the file listed
# first. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    antspyx==0.6.3 simpleitk==2.5.7 pydicom==3.0.2 numpy==2.3.5

venv/bin/python - <<'END'
import sys
from pathlib import Path

import ants
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, SLICES, SPACING_MM = 16, 8, 2.0


def read(name: str, names: list[int]) -> tuple[list[float], float, float]:
    """Heights in mm that slices from the first to the last hold, their distance, ITK's error.

    Voxels hold their slice's height; names[i] is the file name of slice i from the feet.
    """
    Path(name).mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for index in range(SLICES):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID",
                        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
            setattr(image, keyword, "")
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.Rows = image.Columns = SIDE
        image.PixelSpacing, image.SliceThickness = [1, 1], SPACING_MM
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, SPACING_MM * index]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
        image.PixelData = np.full((SIDE, SIDE), SPACING_MM * index, "<i2").tobytes()
        image.save_as(f"{name}/{names[index]}.dcm", enforce_file_format=True)
    scan = ants.dicom_read(name)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(name))
    known = reader.Execute()
    errors_mm = [
        known.TransformIndexToPhysicalPoint((0, 0, index))[2] - known[0, 0, index]
        for index in range(SLICES)
    ]
    return scan.numpy()[0, 0].tolist(), float(scan.spacing[2]), float(np.abs(errors_mm).max())


order = list(range(SLICES))
found = {
    "named upwards": read("up", order),
    "named downwards": read("down", order[::-1]),
    "named in turn": read("turn", order[::2] + order[1::2]),
}
for name, (heights_mm, distance_mm, by_itk) in found.items():
    print(f"{name}: heights {heights_mm} mm, {distance_mm:g} mm apart; ITK {by_itk:g} mm off")
shuffled = sum(heights_mm != sorted(heights_mm) for heights_mm, _, _ in found.values())
squeezed = all(distance_mm == 1 for _, distance_mm, _ in found.values())
sys.exit(not (shuffled >= 2 and squeezed and all(by_itk == 0 for _, _, by_itk in found.values())))
END
