#!/usr/bin/env bash
# dcmjs 0.52.2: the multi-frame image that it makes of CT slices has no voxels, or the wrong HU.
#
# Normalizer.normalizeToDataset turns slices into one multi-frame image. Expected, from slices that dcmjs
# itself has read: their HU. Seen: its reader puts a slice's voxels into a list of one buffer, which the
# normaliser takes as 16-bit numbers, so that every stored value is 0 (-1024 HU with the usual intercept);
# with the buffers taken out of the lists, the values are there, but all frames get one slice's
# RescaleSlope, so that 200 HU reads -412 HU where slopes are 1 and 2 in turn. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
npm install --silent --no-audit --no-fund --ignore-scripts dcmjs@0.52.2 > npm.log 2>&1 || { cat npm.log >&2; exit 1; }

venv/bin/python - <<'END'
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.pixels import apply_rescale
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, HU = 16, 200

for name, slopes in (("same", [1, 1, 1, 1]), ("slopes", [1, 2, 1, 2])):
    Path(name).mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for index, slope in enumerate(slopes):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID",
                        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
            setattr(image, keyword, "")
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.Rows = image.Columns = SIDE
        image.PixelSpacing, image.SliceThickness = [1, 1], 2
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, 2 * index]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, slope, -1024
        image.PixelData = np.full((SIDE, SIDE), (HU + 1024) / slope, "<i2").tobytes()
        image.save_as(f"{name}/{index}.dcm", enforce_file_format=True)
        assert apply_rescale(image.pixel_array, image)[0, 0] == HU
END

cat > read.js <<'END'
const fs = require("fs");
const dcmjs = require("dcmjs");
const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log.setLevel("error");

// HU of the first voxel of all frames, with slices as they were read or with buffers taken out.
function read(name, takenOut) {
  const slices = fs.readdirSync(name).sort().map((file) => {
    const bytes = fs.readFileSync(`${name}/${file}`);
    const found = DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const slice = DicomMetaDictionary.naturalizeDataset(found.dict);
    slice._meta = DicomMetaDictionary.namifyDataset(found.meta);
    if (takenOut) slice.PixelData = slice.PixelData[0];
    return slice;
  });
  const image = dcmjs.normalizers.Normalizer.normalizeToDataset(slices);
  const voxels = new Int16Array(image.PixelData);
  return image.PerFrameFunctionalGroupsSequence.map((frame, index) => {
    const { RescaleSlope, RescaleIntercept } = (
      frame.PixelValueTransformationSequence ||
      image.SharedFunctionalGroupsSequence.PixelValueTransformationSequence
    );
    return voxels[index * image.Rows * image.Columns] * RescaleSlope + Number(RescaleIntercept);
  });
}

const found = [];
for (const name of ["same", "slopes"]) {
  for (const takenOut of [false, true]) {
    found.push(read(name, takenOut).join(" "));
    console.log(`${name}, buffers ${takenOut ? "taken out" : "as read"}: ${found.at(-1)} HU (true: 200)`);
  }
}
const empty = found[0] === "-1024 -1024 -1024 -1024" && found[2] === found[0];
const oneSlope = ["200 -412 200 -412", "-412 200 -412 200"].includes(found[3]);
process.exit(empty && found[1] === "200 200 200 200" && oneSlope ? 0 : 1);
END
node read.js
