#!/usr/bin/env bash
# rt-utils 1.2.7: structures of slices that are not square come back cut, without an error.
#
# CT slices may have any numbers of rows and columns (PS3.3 C.7.6.3). Expected: a mask that rt-utils
# wrote comes back as it was, or an error. Seen: on slices of 48 rows and 64 columns the mask comes back
# with 64 rows and 48 columns; it is not turned, so voxels beyond the 48th column are lost.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
    rt-utils==1.2.7 pydicom==3.0.2 numpy==2.4.6 opencv-python-headless==5.0.0.93

venv/bin/python - <<'END'
import sys
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

SLICES = 4


def round_trip(rows: int, columns: int) -> tuple[tuple[int, ...], float]:
    """Shape of a mask (rows, columns, slices) that comes back, and the share of its voxels."""
    folder = Path(f"{rows}x{columns}")
    folder.mkdir()
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
        image.InstanceNumber, image.Rows, image.Columns = index + 1, rows, columns
        image.PixelSpacing, image.SliceThickness = [1, 1], 2
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, 2 * index]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
        image.PixelData = np.zeros((rows, columns), "<i2").tobytes()
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    mask = np.zeros((rows, columns, SLICES), bool)
    mask[10:20, columns - 24 : columns - 4, 1:3] = True
    structures = RTStructBuilder.create_new(str(folder))
    structures.add_roi(mask=mask, name="L1")
    structures.save(f"{folder}.dcm")
    found = RTStructBuilder.create_from(str(folder), f"{folder}.dcm").get_roi_mask_by_name("L1")
    return found.shape, found.sum() / mask.sum()


(_, of_square), (shape, of_wide) = round_trip(64, 64), round_trip(48, 64)
print(f"voxels that come back: {of_square:.0%} of 64 x 64, {of_wide:.0%} of 48 x 64 as {shape}")
sys.exit(not (of_square == 1 and of_wide < 0.5 and shape == (64, 48, SLICES)))
END
