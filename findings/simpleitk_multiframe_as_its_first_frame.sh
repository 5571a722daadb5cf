#!/usr/bin/env bash
# SimpleITK 2.5.7: a multi-frame CT is read with the first frame's rescaling, and in the file's order.
#
# Each frame of an Enhanced CT states its place (PS3.3 C.7.6.16.2.3) and may state its own rescaling
# (C.7.6.16.2.9). Expected: HU at those places, as dcm2niix gives them. Seen: every frame gets the first
# one's slope, so a vertebra of 200 HU reads 50 HU in frames whose slope is four times that; and frames
# stored in another order than along the patient (all odd ones, then the even ones) are stacked as they
# are stored, 1 mm apart, which halves the patient here. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6 simpleitk==2.5.7

venv/bin/python - <<'END'
import subprocess
import sys

import dcm2niix
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SPACING_MM = 16, 16, 2.0
FRAMES = range(8)  # numbers of slices, from the feet
HU = 200


def item(**elements: object) -> list[Dataset]:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]


def read(name: str, order: list[int], slopes: list[float]) -> dict[str, tuple[list[float], list[float]]]:
    """Heights in mm and HU of all slices from the feet, by ITK and by dcm2niix.

    Slices have 200 HU and 4 HU more for each slice below them.
    """
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID, image.Modality, image.Manufacturer = generate_uid(), "CT", "none"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID",
                    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(image, keyword, "")
    image.ImageType, image.VolumetricProperties = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "VOLUME"
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.Rows, image.Columns, image.NumberOfFrames = ROWS, COLUMNS, len(order)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=SPACING_MM),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    image.DimensionOrganizationSequence = item(DimensionOrganizationUID=generate_uid())
    image.DimensionIndexSequence = item(
        DimensionIndexPointer=Tag("InStackPositionNumber"),
        FunctionalGroupPointer=Tag("FrameContentSequence"),
        DimensionOrganizationUID=image.DimensionOrganizationSequence[0].DimensionOrganizationUID,
    )
    image.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=item(
                StackID="1", InStackPositionNumber=number + 1, DimensionIndexValues=[number + 1]
            ),
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, SPACING_MM * number]),
            PixelValueTransformationSequence=item(
                RescaleSlope=slopes[number], RescaleIntercept=0, RescaleType="HU"
            ),
        )[0]
        for number in order
    ]
    stored = [(HU + 4 * number) / slopes[number] for number in order]
    voxels = np.broadcast_to(np.reshape(stored, (-1, 1, 1)), (len(order), ROWS, COLUMNS))
    image.PixelData = voxels.astype("<i2").tobytes()
    image.save_as(f"{name}.dcm", enforce_file_format=True)

    scan = sitk.ReadImage(f"{name}.dcm")
    heights_mm = [scan.TransformIndexToPhysicalPoint((0, 0, number))[2] for number in FRAMES]
    by_itk = heights_mm, [float(scan[8, 8, number]) for number in FRAMES]
    command = [dcm2niix.bin, "-s", "y", "-f", name, "-z", "n", "-o", ".", f"{name}.dcm"]
    subprocess.run(command, check=True, capture_output=True)
    nifti = nib.load(f"{name}.nii")
    heights_mm = [float((nifti.affine @ [0, 0, number, 1])[2]) for number in FRAMES]
    return {"ITK": by_itk, "dcm2niix": (heights_mm, nifti.get_fdata()[8, 8].tolist())}


heights_mm, hu = [SPACING_MM * number for number in FRAMES], [HU + 4.0 * number for number in FRAMES]
cases = {
    "plain": read("plain", list(FRAMES), [1] * 8),
    "slopes": read("slopes", list(FRAMES), [1, 4] * 4),
    "order": read("order", [*FRAMES[::2], *FRAMES[1::2]], [1] * 8),
}
for name, found in cases.items():
    for program, (heights, values) in found.items():
        print(f"{name}, {program}: {np.round(heights, 1).tolist()} mm, {np.round(values, 1).tolist()} HU")
known = (heights_mm, hu)
right = all(np.allclose(found["dcm2niix"], known) for found in cases.values())
right &= np.allclose(cases["plain"]["ITK"], known) and np.allclose(cases["slopes"]["ITK"][0], heights_mm)
divided = np.where(np.arange(8) % 2, np.array(hu) / 4, hu)
scaled = np.allclose(cases["slopes"]["ITK"][1], divided)
stacked = np.allclose(cases["order"]["ITK"], (range(8), hu[::2] + hu[1::2]))
sys.exit(not (right and scaled and stacked))
END
