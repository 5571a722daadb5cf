#!/usr/bin/env bash
# dicom2nifti 2.6.2: a multi-frame CT that is stored from head to feet can come out upside down.
#
# Each frame states its place (PS3.3 C.7.6.16.2.3) and its number in the stack (C.7.6.16.2.2); the order
# in the file is free. Expected: voxels at their places, as ITK puts them. Seen: that is so where frames
# are stored in the order of their numbers; stored in the reverse order, voxels are sorted by number and
# the affine is made from the first and last stored frame, so the lowest slice lies where the highest
# was, and levels are named from the wrong end. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dicom2nifti==2.6.2 pydicom==3.0.2 nibabel==5.4.2 numpy==2.3.5 simpleitk==2.5.7

venv/bin/python - <<'END'
import sys
from pathlib import Path

import dicom2nifti
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SPACING_MM = 16, 16, 2.0
FRAMES = [(index + 1, SPACING_MM * index) for index in range(8)]


def item(**elements: object) -> list[Dataset]:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]


def errors_mm(name: str, frames: list[tuple[int, float]]) -> tuple[float, float]:
    """Largest error of a slice's height by dicom2nifti and by ITK.

    Frames are (number in the stack, height in mm); their voxels hold the height.
    """
    heights_mm = [height_mm for _, height_mm in frames]
    Path(name).mkdir()
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
    image.Rows, image.Columns, image.NumberOfFrames = ROWS, COLUMNS, len(heights_mm)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=SPACING_MM),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU"),
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
                StackID="1", InStackPositionNumber=number, DimensionIndexValues=[number]
            ),
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, height_mm]),
        )[0]
        for number, height_mm in frames
    ]
    voxels = np.broadcast_to(np.reshape(heights_mm, (-1, 1, 1)), (len(heights_mm), ROWS, COLUMNS))
    image.PixelData = voxels.astype("<i2").tobytes()
    image.save_as(f"{name}/ct.dcm", enforce_file_format=True)

    dicom2nifti.dicom_series_to_nifti(name, f"{name}.nii.gz")
    nifti = nib.load(f"{name}.nii.gz")
    places = nib.affines.apply_affine(nifti.affine, np.moveaxis(np.indices(nifti.shape), 0, -1))
    by_dicom2nifti = np.abs(places[..., 2] - nifti.get_fdata()).max()
    volume = sitk.ReadImage(f"{name}/ct.dcm")
    heights = [
        volume.TransformIndexToPhysicalPoint((0, 0, index))[2] - volume[0, 0, index]
        for index in range(len(heights_mm))
    ]
    return float(by_dicom2nifti), float(np.abs(heights).max())


up, down = errors_mm("up", FRAMES), errors_mm("down", FRAMES[::-1])
print("largest error in mm by dicom2nifti: %g (stored upwards), %g (downwards)" % (up[0], down[0]))
print("largest error in mm by ITK: %g, %g" % (up[1], down[1]))
sys.exit((up, down) != ((0, 0), (FRAMES[-1][1], 0)))
END
