#!/usr/bin/env bash
# DicomRTTool 6.2.0: contours on leaning slices are filled several slices from where they are.
#
# Slices of a CT may lean (ImageOrientationPatient, PS3.3 C.7.6.2.1.1), and contours drawn on them lean
# too; each contour names its slice. Expected: the mask lies on those slices. Seen: the slice is looked up
# by the height of the contour's points among the heights of the slices' corners, which agree on axial
# slices alone: with slices leaning by 20 degrees, a structure 30 mm behind the corners lies five slices
# of 2 mm away, its shape kept. The image itself is read rightly, and nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    DicomRTTool==6.2.0 pydicom==3.0.2 simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DicomRTTool.ReaderWriter import DicomReaderWriter
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

SIDE, SLICES, SPACING_MM = 48, 24, 2.0
FIRST, LAST, ROWS, COLUMNS = 8, 12, (26, 36), (10, 30)  # slices, rows and columns of the structure


def dataset(kind: str) -> Dataset:
    new = Dataset()
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.SOPClassUID, new.SOPInstanceUID = kind, generate_uid()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID",
                    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(new, keyword, "")
    return new


def item(**elements: object) -> Dataset:
    new = Dataset()
    for keyword, value in elements.items():
        setattr(new, keyword, value)
    return new


def slices_off(degrees: float) -> tuple[float, int, float]:
    """How many slices too high the mask lies, its number of slices, and the image's error in mm."""
    folder = Path(f"lean{degrees:g}")
    folder.mkdir()
    down = np.array([0, np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    normal = np.cross([1, 0, 0], down)
    study, series, frame = (generate_uid() for _ in range(3))
    images = []
    for index in range(SLICES):
        image = dataset(CTImageStorage)
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality, image.SeriesDescription = frame, "CT", "ct"
        image.InstanceNumber, image.Rows, image.Columns = index + 1, SIDE, SIDE
        image.PixelSpacing, image.SliceThickness = [1, 1], SPACING_MM
        image.ImageOrientationPatient = [1, 0, 0, *(round(float(value), 8) for value in down)]
        image.ImagePositionPatient = [round(float(value), 6) for value in SPACING_MM * index * normal]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
        image.PixelData = np.full((SIDE, SIDE), index, "<i2").tobytes()
        image.save_as(folder / f"{index:02}.dcm", enforce_file_format=True)
        images.append(image)

    corners = [(COLUMNS[column], ROWS[row]) for column, row in ((0, 0), (1, 0), (1, 1), (0, 1))]
    contours = []
    for index in range(FIRST, LAST + 1):
        points = [
            SPACING_MM * index * normal + column * np.array([1, 0, 0]) + row * down
            for column, row in corners
        ]
        reference = item(
            ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=images[index].SOPInstanceUID
        )
        contours.append(item(
            ContourImageSequence=[reference], ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=4, ContourData=[round(float(v), 4) for p in points for v in p],
        ))
    rt = dataset(RTStructureSetStorage)
    rt.StudyInstanceUID, rt.SeriesInstanceUID, rt.Modality = study, generate_uid(), "RTSTRUCT"
    rt.FrameOfReferenceUID, rt.StructureSetLabel, rt.SeriesDescription = frame, "none", "rt"
    rt.ReferencedFrameOfReferenceSequence = [item(
        FrameOfReferenceUID=frame,
        RTReferencedStudySequence=[item(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=study,
            RTReferencedSeriesSequence=[item(
                SeriesInstanceUID=series,
                ContourImageSequence=[
                    item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=image.SOPInstanceUID)
                    for image in images
                ],
            )],
        )],
    )]
    rt.StructureSetROISequence = [item(
        ROINumber=1, ReferencedFrameOfReferenceUID=frame, ROIName="L1", ROIGenerationAlgorithm="MANUAL"
    )]
    rt.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=contours)]
    rt.RTROIObservationsSequence = [item(
        ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter=""
    )]
    rt.save_as(folder / "rt.dcm", enforce_file_format=True)

    reader = DicomReaderWriter(description="none", arg_max=True, Contour_Names=["L1"], verbose=False)
    reader.walk_through_folders(str(folder))
    reader.get_images_and_mask()
    found = np.argwhere(sitk.GetArrayFromImage(reader.annotation_handle))[:, 0]
    last = reader.dicom_handle.TransformIndexToPhysicalPoint((0, 0, SLICES - 1))
    error_mm = float(np.linalg.norm(np.subtract(last, SPACING_MM * (SLICES - 1) * normal)))
    return float(found.mean() - (FIRST + LAST) / 2), len(np.unique(found)), error_mm


axial, leaning = slices_off(0), slices_off(20)
for name, (off, count, error_mm) in (("axial", axial), ("leaning", leaning)):
    print(f"{name}: {count} slices, {off:+.1f} slices from their place; image {error_mm:.2f} mm off")
sys.exit(not (axial[0] == 0 and abs(leaning[0]) > 3 and max(axial[2], leaning[2]) < 0.01))
END
