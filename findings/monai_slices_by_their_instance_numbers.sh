#!/usr/bin/env bash
# MONAI 1.6.1: PydicomReader stacks slices by InstanceNumber and squeezes the patient if that is not height.
#
# InstanceNumber numbers images and says nothing of place, which ImagePositionPatient gives (PS3.3
# C.7.6.2.1.1). Expected: slices in the order of their positions, as ITKReader of the same library puts
# them. Seen: slices are stacked by their numbers, and their distance is that of the first and last of
# them over their count: numbered in two passes, every other slice is elsewhere; numbered at will, slices
# of 2 mm come to lie 0.4 mm apart. If numbers rise or fall with height, it is right. Nothing warns.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    monai==1.6.1 torch==2.13.0 pydicom==3.0.2 itk==5.4.7 numpy==2.3.5

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys
from pathlib import Path

import numpy as np
from monai.data import ITKReader, PydicomReader
from monai.transforms import LoadImage
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, SLICES, SPACING_MM = 16, 6, 2.0


def errors_mm(name: str, numbers: list[int], names: list[int]) -> dict[str, float]:
    """Largest error of a slice's height by reader; voxels hold their slice's height."""
    Path(name).mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for index, (number, file) in enumerate(zip(numbers, names)):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID",
                        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
            setattr(image, keyword, "")
        image.SeriesNumber, image.InstanceNumber = 1, number
        image.Rows = image.Columns = SIDE
        image.PixelSpacing, image.SliceThickness = [1, 1], SPACING_MM
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, SPACING_MM * index]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
        image.PixelData = np.full((SIDE, SIDE), SPACING_MM * index, "<i2").tobytes()
        image.save_as(f"{name}/{file}.dcm", enforce_file_format=True)
    errors = {}
    for reader in (PydicomReader, ITKReader):
        found = LoadImage(reader=reader(), image_only=True)(name)
        places = np.arange(found.shape[2])
        heights_mm = found.affine[2, 2].item() * places + found.affine[2, 3].item()
        errors[reader.__name__] = float(np.abs(found[0, 0].numpy() - heights_mm).max())
        print(f"{name}, {reader.__name__}: {abs(found.affine[2, 2].item()):.2f} mm apart, "
              f"holding {found[0, 0].numpy().astype(int).tolist()} mm")
    return errors


up, turn = list(range(SLICES)), [0, 2, 4, 1, 3, 5]
right = [errors_mm("rising", up, up), errors_mm("falling", up[::-1], turn)]
wrong = [errors_mm("two_passes", [1, 4, 2, 5, 3, 6], up), errors_mm("at_will", [3, 1, 6, 2, 5, 4], up)]
by_itk = max(errors["ITKReader"] for errors in (*right, *wrong))
by_pydicom = [max(e["PydicomReader"] for e in right), min(e["PydicomReader"] for e in wrong)]
sys.exit(not (by_itk < 0.01 and by_pydicom[0] < 0.01 and by_pydicom[1] >= 4))
END
