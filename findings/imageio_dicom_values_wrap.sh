#!/usr/bin/env bash
# imageio 2.38.1: a DICOM series whose first slice is dark is read with values that wrap, bright ones negative.
#
# The plugin DICOM applies RescaleSlope and RescaleIntercept, and is documented to change the type of the
# data if that is necessary. Expected of volread: the values that pydicom gives. Seen: a slice without
# negative values whose highest is 128 to 255 gets int8, and one of 32768 to 65535 gets int16, so that 200
# is read as -56; and a volume has the type of its first slice, so that after a first slice with no value
# above 127 each later one wraps to -128 to 127, where 500 becomes -12. Spinal MR with a dark slice at the
# edge is such a series, with slope 1 and intercept 0 in its files. CT in which air is -1024 is right;
# nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6

venv/bin/python - <<'END'
import contextlib
import io
import sys
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SIDE = 16


def write(folder: str, brightest: list[int], lowest: int) -> np.ndarray:
    """MR slices of one series, bottom first, and the values (slice, row, column) that pydicom reads."""
    Path(folder).mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    values = []
    for index, highest in enumerate(brightest):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID, image.Modality = MRImageStorage, generate_uid(), "MR"
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.Rows = image.Columns = SIDE
        image.PixelSpacing, image.SliceThickness = [1, 1], 4
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, 4 * index]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.RescaleSlope, image.RescaleIntercept = 1, lowest
        image.PixelData = np.linspace(0, highest - lowest, SIDE * SIDE).astype("<u2").tobytes()
        path = Path(folder, f"{index}.dcm")
        image.save_as(path, enforce_file_format=True)
        values.append(apply_modality_lut(dcmread(path).pixel_array, image))
    return np.array(values)


CASES = {
    "MR, first slice up to 100": ([100, 500, 500], 0),
    "MR, all up to 200": ([200, 200, 200], 0),
    "MR, first slice up to 300": ([300, 500, 500], 0),
    "from -1024": ([100, 500, 2000], -1024),
}
found = []
for number, (name, (brightest, lowest)) in enumerate(CASES.items()):
    true = write(str(number), brightest, lowest)
    with contextlib.redirect_stdout(io.StringIO()):
        read = np.asarray(imageio.volread(str(number), "DICOM"))
    wrong = float(np.mean(read != true))
    last = read[-1].astype(int)[true[-1] == true.max()].tolist()
    print(f"{name}: {read.dtype}, {wrong:.0%} of the values wrong; {int(true.max())} is read as {last[0]}")
    found.append((str(read.dtype), wrong > 0.2, last[0]))
sys.exit(found != [("int8", True, -12), ("int8", True, -56), ("int16", False, 500), ("int16", False, 2000)])
END
