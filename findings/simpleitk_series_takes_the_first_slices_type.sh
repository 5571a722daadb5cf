#!/usr/bin/env bash
# SimpleITK 2.5.7: one CT slice's rescaling decides the number type of the whole series, and HU wrap.
#
# RescaleIntercept belongs to each CT image (PS3.3 C.8.2.1), so a series may state 0 in its first image
# and -1024 in the others. Expected: HU, as each of these files gives when read alone. Seen: the series
# is read as unsigned 16 bits, the type that fits the first image, and -1000 HU of the others become
# 64536, without an error or a warning.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    simpleitk==2.5.7 pydicom==3.0.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, HU = 16, np.array([40, 40, -1000, 40, -1000])  # one value a slice
INTERCEPTS = [0, -1024, -1024, -1024, -1024]
series, study, frame = (generate_uid() for _ in range(3))
names = []
for index, (hu, intercept) in enumerate(zip(HU, INTERCEPTS)):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.FrameOfReferenceUID, image.Modality = frame, "CT"
    image.InstanceNumber = index + 1
    image.Rows = image.Columns = SIDE
    image.PixelSpacing, image.SliceThickness = [1, 1], 2
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, 2 * index]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, intercept, "HU"
    image.PixelData = np.full((SIDE, SIDE), hu - intercept, "<u2").tobytes()
    names.append(f"{index}.dcm")
    image.save_as(names[-1], enforce_file_format=True)

alone = [int(sitk.GetArrayFromImage(sitk.ReadImage(name)).flat[0]) for name in names]
image = sitk.ReadImage(names)
together = sitk.GetArrayFromImage(image)[:, 0, 0].tolist()
print(f"written: {HU.tolist()}")
print(f"file by file: {alone}")
print(f"as a series: {together} ({image.GetPixelIDTypeAsString()})")
sys.exit(not (alone == HU.tolist() and together == (HU % 65536).tolist()))
END
