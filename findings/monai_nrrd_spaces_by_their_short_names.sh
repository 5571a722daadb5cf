#!/usr/bin/env bash
# MONAI 1.6.1: NrrdReader turns a scan round whose header says LPS instead of left-posterior-superior.
#
# NRRD has two names for each space of a patient, and three such spaces (field `space` of its format:
# right-anterior-superior or RAS, left-anterior-superior or LAS, left-posterior-superior or LPS).
# Expected: the same affine for all, as ITK reads them, or an error. Seen: LPS is taken as RAS, so left
# is right and front is back; LAS, under both of its names, is taken as RAS too. Nothing warns.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    monai==1.6.1 torch==2.13.0 pynrrd==1.1.3 simpleitk==2.5.7 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import nrrd
import numpy as np
import SimpleITK as sitk
from monai.data import NrrdReader
from monai.transforms import LoadImage

STEPS_MM, ORIGIN_LPS_MM = np.array([2.0, 3.0, 4.0]), np.array([10.0, 20.0, 30.0])
RAS = np.diag([*(STEPS_MM * [-1, -1, 1]), 1.0])
RAS[:3, 3] = ORIGIN_LPS_MM * [-1, -1, 1]
SIGNS = {  # of LPS axes
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
}

right = {}
for space, signs in SIGNS.items():
    header = {
        "space": space,
        "space directions": np.diag(STEPS_MM * signs),
        "space origin": ORIGIN_LPS_MM * signs,
        "kinds": ["domain"] * 3,
    }
    nrrd.write("scan.nrrd", np.zeros((4, 5, 6), np.int16), header)
    found = LoadImage(reader=NrrdReader(), image_only=True)("scan.nrrd").affine.numpy()
    of_itk = sitk.ReadImage("scan.nrrd")
    itk_is_right = np.allclose(of_itk.GetOrigin(), ORIGIN_LPS_MM) and np.allclose(
        np.reshape(of_itk.GetDirection(), (3, 3)), np.eye(3)
    )
    right[space] = np.allclose(found, RAS), itk_is_right
    print(f"{space}: MONAI {'right' if right[space][0] else found[:3].tolist()}, ITK {itk_is_right}")
of_monai = [space for space, (monai, itk) in right.items() if monai and itk]
sys.exit(of_monai != ["left-posterior-superior", "right-anterior-superior", "RAS"])
END
