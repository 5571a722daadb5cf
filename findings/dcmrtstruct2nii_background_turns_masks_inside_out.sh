#!/usr/bin/env bash
# dcmrtstruct2nii 5: with a background that is not 0, structures come out inside out, slice by slice.
#
# mask_background_value and mask_foreground_value, each of 0 to 255, say which values a mask has outside and
# inside of a structure. Expected: the same mask for every pair, in other values. Seen: contours are combined
# by "exclusive or" with what the slice has so far, where any background but 0 counts as inside, so that in
# slices with one contour the structure gets the background's value and all around it the foreground's.
# Slices without a contour are right, and slices with two pieces are so if the foreground is 0: a vertebra
# is inside out where it is one piece and right where its processes are apart.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dcmrtstruct2nii==5 pydicom==2.4.5 simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from dcmrtstruct2nii import dcmrtstruct2nii
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

SLICES, SIDE, SPACING_MM = 6, 32, 2.5
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def dataset(kind: str, modality: str, series: str) -> Dataset:
    """What CT slices and structures have in common."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.is_little_endian, image.is_implicit_VR = True, False
    image.SOPClassUID, image.SOPInstanceUID = kind, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, series
    image.FrameOfReferenceUID, image.Modality = FRAME, modality
    image.PatientID = image.PatientName = image.StudyDate = image.StudyTime = ""
    return image


def box(low: int, high: int, height_mm: float) -> Dataset:
    """A square contour, half a voxel around the voxels low to high - 1 of rows and columns."""
    low_mm, high_mm = low - 0.5, high - 0.5
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    corners = ((low_mm, low_mm), (high_mm, low_mm), (high_mm, high_mm), (low_mm, high_mm))
    contour.ContourData = [value for x, y in corners for value in (x, y, height_mm)]
    return contour


Path("ct").mkdir()
for index in range(SLICES):
    image = dataset(CTImageStorage, "CT", SERIES)
    image.SeriesNumber, image.InstanceNumber = 1, index + 1
    image.Rows = image.Columns = SIDE
    image.PixelSpacing, image.SliceThickness = [1, 1], SPACING_MM
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, SPACING_MM * index]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.PixelData = np.zeros((SIDE, SIDE), "<i2").tobytes()
    image.save_as(f"ct/{index}.dcm", write_like_original=False)

ONE, TWO = (1, 2), (3,)  # slices with one piece and with two
structures = dataset(RTStructureSetStorage, "RTSTRUCT", generate_uid())
name, outline = Dataset(), Dataset()
name.ROINumber, name.ROIName, name.ReferencedFrameOfReferenceUID = 1, "L1", FRAME
outline.ReferencedROINumber = 1
outline.ContourSequence = [box(8, 20, SPACING_MM * index) for index in ONE + TWO]
outline.ContourSequence += [box(24, 28, SPACING_MM * index) for index in TWO]
structures.StructureSetROISequence, structures.ROIContourSequence = [name], [outline]
structures.save_as("structures.dcm", write_like_original=False)

true = np.zeros((SLICES, SIDE, SIDE), bool)
true[1:4, 8:20, 8:20] = True
true[3, 24:28, 24:28] = True
seen = []
for background, foreground in ((0, 255), (0, 1), (1, 2), (255, 0)):
    dcmrtstruct2nii(
        "structures.dcm",
        "ct",
        "masks",
        mask_background_value=background,
        mask_foreground_value=foreground,
        convert_original_dicom=False,
    )
    mask = sitk.GetArrayFromImage(sitk.ReadImage("masks/mask_L1.nii.gz"))
    right = np.mean(mask == np.where(true, foreground, background), axis=(1, 2))
    shares = ", ".join(f"{share:.0%}" for share in right)
    print(f"background {background}, foreground {foreground}: right voxels in slices 0 to 5: {shares}")
    wrong = (ONE if foreground == 0 else ONE + TWO) if background else ()
    seen.append(all(share < 0.2 if index in wrong else share > 0.9 for index, share in enumerate(right)))
sys.exit(not all(seen))
END
