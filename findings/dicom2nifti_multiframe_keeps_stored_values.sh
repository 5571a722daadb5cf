#!/usr/bin/env bash
# dicom2nifti 2.6.2: a multi-frame CT whose rescaling is shared by its frames keeps its stored values.
#
# An Enhanced CT states RescaleSlope and RescaleIntercept once for all frames, or for each frame
# (PS3.3 C.7.6.16.2.9, which allows both places). Expected: HU in the NIfTI file, as the same program
# gives for one file a slice. Seen: HU where each frame states them; where they are shared, the stored
# values, so that with an intercept of -1024 a vertebra of 150 HU has 1174. Status and log are the same.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dicom2nifti==2.6.2 pydicom==3.0.2 nibabel==5.4.2 numpy==2.3.5 highdicom==0.28.2

venv/bin/python - <<'END'
import sys
from pathlib import Path

import dicom2nifti
import highdicom as hd
import nibabel as nib
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, FRAMES, SPACING_MM, HU, INTERCEPT = 16, 16, 6, 2.0, 150, -1024


def item(**elements: object) -> list[Dataset]:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]


def read_hu(name: str, shared: bool) -> tuple[float, float]:
    """HU of the middle voxel of an Enhanced CT, as dicom2nifti and as highdicom read it."""
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
    image.Rows, image.Columns, image.NumberOfFrames = ROWS, COLUMNS, FRAMES
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    rescaling = item(RescaleSlope=1, RescaleIntercept=INTERCEPT, RescaleType="HU")
    image.DimensionOrganizationSequence = item(DimensionOrganizationUID=generate_uid())
    image.DimensionIndexSequence = item(
        DimensionIndexPointer=Tag("InStackPositionNumber"),
        FunctionalGroupPointer=Tag("FrameContentSequence"),
        DimensionOrganizationUID=image.DimensionOrganizationSequence[0].DimensionOrganizationUID,
    )
    common = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=SPACING_MM),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    frames = [
        item(
            FrameContentSequence=item(
                StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[index + 1]
            ),
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, SPACING_MM * index]),
        )[0]
        for index in range(FRAMES)
    ]
    for group in common if shared else frames:
        group.PixelValueTransformationSequence = rescaling
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = common, frames
    voxels = np.full((FRAMES, ROWS, COLUMNS), -1000 - INTERCEPT)  # air around a block
    voxels[:, 4:12, 4:12] = HU - INTERCEPT
    image.PixelData = voxels.astype("<i2").tobytes()
    image.save_as(f"{name}/ct.dcm", enforce_file_format=True)
    dicom2nifti.dicom_series_to_nifti(name, f"{name}.nii.gz")
    found = nib.load(f"{name}.nii.gz").get_fdata()
    known = hd.imread(f"{name}/ct.dcm").get_volume().array
    middle = FRAMES // 2, ROWS // 2, COLUMNS // 2
    return float(found[middle[::-1]]), float(known[middle])


by_frame, shared = read_hu("by_frame", shared=False), read_hu("shared", shared=True)
print("HU by dicom2nifti: %g (stated by frame), %g (shared)" % (by_frame[0], shared[0]))
print("HU by highdicom: %g, %g" % (by_frame[1], shared[1]))
sys.exit((by_frame, shared) != ((HU, HU), (HU - INTERCEPT, HU)))
END
