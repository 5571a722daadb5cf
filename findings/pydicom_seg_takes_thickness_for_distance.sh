#!/usr/bin/env bash
# pydicom-seg 0.4.1: planes of a DICOM SEG are put as far apart as they are thick.
#
# Each plane of a SEG states its place (PS3.3 C.7.6.16.2.3), and CT slices may be thinner or thicker than
# their distance. Expected: planes at their places, whatever SliceThickness says, as highdicom reads them. Seen:
# without SpacingBetweenSlices, which only SEGs that call themselves 3D must have (C.7.6.16.2.1), thickness
# is taken for the distance: of slices of 1.25 mm every 2.5 mm every second plane comes out empty and a
# vertebra has half its volume; of slices of 5 mm every 2.5 mm two fall on one plane, and one is lost.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv writer
writer/bin/pip install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
python3 -m venv reader
reader/bin/pip install --quiet --disable-pip-version-check \
    pydicom-seg==0.4.1 pydicom==2.4.4 numpy==1.26.4 simpleitk==2.5.7 setuptools==80.9.0

cat > write.py <<'END'
import highdicom as hd
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, SIDE, STEP_MM = 12, 20, 2.5
mask = np.zeros((SLICES, SIDE, SIDE), np.uint8)
mask[2:10, 6:14, 5:15] = 1
description = hd.seg.SegmentDescription(
    1, "L1", codes.SCT.AnatomicalStructure, codes.SCT.L1Vertebra,
    hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
    hd.AlgorithmIdentificationSequence("none", codes.DCM.ArtificialIntelligence, "1"))

for thickness in (1.25, 2.5, 5.0):
    study, series, frame = (generate_uid() for _ in range(3))
    slices = []
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
        image.Rows, image.Columns, image.PixelSpacing = SIDE, SIDE, [1.0, 1.0]
        image.SliceThickness, image.ImageOrientationPatient = thickness, [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0.0, 0.0, STEP_MM * index]
        slices.append(image)
    segmentation = hd.seg.Segmentation(
        slices, mask, "BINARY", [description], generate_uid(), 1, generate_uid(), 1, "none", "none", "1", "0")
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    if "DimensionOrganizationType" in segmentation:
        del segmentation.DimensionOrganizationType
    segmentation.save_as(f"{thickness}.dcm")
    volume = hd.seg.segread(f"{thickness}.dcm").get_volume(combine_segments=True)
    assert np.isclose(volume.array.sum() * volume.voxel_volume, mask.sum() * STEP_MM)
END
writer/bin/python write.py

reader/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import pydicom
import pydicom_seg

true = 8 * 8 * 10 * 2.5
volumes = {}
for thickness in (1.25, 2.5, 5.0):
    image = pydicom_seg.SegmentReader().read(pydicom.dcmread(f"{thickness}.dcm")).segment_image(1)
    voxels = pydicom_seg.SegmentReader().read(pydicom.dcmread(f"{thickness}.dcm")).segment_data(1)
    volumes[thickness] = float(voxels.sum() * np.prod(image.GetSpacing()))
    planes = voxels.any(axis=(1, 2)).astype(int)
    print(f"slices of {thickness} mm: {volumes[thickness]:g} mm3 (true {true:g}), planes with L1 {planes}")
sys.exit(not (volumes[1.25] == true / 2 and volumes[2.5] == true and planes.sum() < 8))
END
