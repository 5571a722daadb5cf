#!/usr/bin/env bash
# dcmqi 1.5.7: a DICOM SEG on slices of a tilted gantry is read as a straight stack, out of place.
#
# Each plane of a SEG states its own place, so slices that are shifted within their planes against each
# other are valid. Expected: the segment's voxels at those places, or an error. Seen: segimage2itkimage
# ends with status 0 and stacks the planes one straight above the other; each but the first is as far
# out of place as its slice was shifted.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dcmqi==1.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6 simpleitk==2.5.7

cat > common.py <<'END'
import sys

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, ROWS, COLUMNS, SPACING_MM = 8, 20, 20, 2.0
MASK = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
MASK[1:7, 6:14, 6:14] = 1


def images(shift_mm: float) -> list[Dataset]:
    """CT slices, each shifted along its rows' direction against the one before."""
    study, series, frame = (generate_uid() for _ in range(3))
    found = []
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
        image.Rows, image.Columns, image.PixelSpacing = ROWS, COLUMNS, [1.0, 1.0]
        image.SliceThickness, image.ImageOrientationPatient = SPACING_MM, [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0.0, shift_mm * index, SPACING_MM * index]
        found.append(image)
    return found


def write(path: str, shift_mm: float) -> None:
    description = hd.seg.SegmentDescription(
        1, "L1", codes.SCT.AnatomicalStructure, codes.SCT.L1Vertebra,
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        hd.AlgorithmIdentificationSequence("none", codes.DCM.ArtificialIntelligence, "1"))
    hd.seg.Segmentation(
        images(shift_mm), MASK, "BINARY", [description], generate_uid(), 1, generate_uid(), 1,
        "none", "none", "1", "0").save_as(path)


def error_mm(name: str, shift_mm: float) -> float:
    """Largest distance of a plane's centre of labelled voxels from where it was written."""
    image = sitk.ReadImage(f"{name}/1.nrrd")
    errors = []
    for index, plane in enumerate(sitk.GetArrayFromImage(image)):
        y, x = np.argwhere(plane).mean(axis=0)
        place = np.array(image.TransformContinuousIndexToPhysicalPoint([x, y, float(index)]))
        source = round(place[2] / SPACING_MM)
        y, x = np.argwhere(MASK[source]).mean(axis=0)
        written = np.array([x, y + shift_mm * source, SPACING_MM * source])
        errors.append(float(np.linalg.norm(place - written)))
    return max(errors)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write("straight.dcm", 0.0)
        write("tilted.dcm", 1.0)
    else:
        errors_mm = [error_mm(name, shift) for name, shift in (("straight", 0.0), ("tilted", 1.0))]
        print("largest error in mm: %.3f (straight), %.3f (tilted)" % tuple(errors_mm))
        sys.exit(not (errors_mm[0] < 0.01 and errors_mm[1] > 1))
END
venv/bin/python common.py write
for name in straight tilted; do
    mkdir "$name"
    venv/bin/segimage2itkimage --inputDICOM "$name.dcm" --outputDirectory "$name" --outputType nrrd \
        > "$name.log" 2>&1
    grep -i "error" "$name.log" || true
done
venv/bin/python common.py compare
