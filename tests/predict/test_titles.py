"""Titles of scans: telling, and never the patient's name."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from vertseg.predict.titles import scan_title
from vertseg.scans.dicom.series import DicomSeries
from vertseg.scans.read import Scan
from vertseg.scans.volumes import Geometry, Volume


def scan(source: str, name: str, description: str = "", patient: str = "") -> Scan:
    header = Dataset()
    header.SeriesDescription = description
    header.PatientName = patient
    series = DicomSeries((header,), (), "")
    array = np.zeros((2, 2, 2), np.int16)
    return Scan(
        name, Path(source), Volume(array, np.eye(4), Geometry((2, 2, 2), np.eye(4))), series
    )


@pytest.mark.parametrize(
    ("source", "name", "description", "title"),
    [
        ("/data/case7/dicom", "dicom", "Abdomen venous", "case7: Abdomen venous"),
        ("/data/case7/dicom", "dicom", "", "case7"),
        ("/data/case7/CT/series-00001", "series-00001", "", "case7"),
        ("/data/case7/DICOM/IM0000", "DICOM_IM0000", "Thorax", "case7: Thorax"),
        ("/data/case7/dicom", "case7_dicom", "Thorax", "case7_dicom: Thorax"),
        ("/data/case7", "case7", "Thorax", "case7: Thorax"),
        ("/data/case7", "case7", "", None),
        ("/dicom", "dicom", "", None),
        ("/dicom", "dicom", "Thorax", "Thorax"),
        ("/data/Doe_John/dicom", "dicom", "Thorax", "Thorax"),
        ("/data/x/JOHN/dicom", "dicom", "", None),
        ("/data/case7/dicom", "dicom", "Doe, thorax", "case7"),
    ],
)
def test_titles(source: str, name: str, description: str, title: str | None) -> None:
    assert scan_title(scan(source, name, description, "Doe^John^^Dr")) == title


def test_long_descriptions_are_cut() -> None:
    title = scan_title(scan("/data/case7/dicom", "dicom", "x" * 500))
    assert title and len(title) < 80


def test_other_formats_need_no_title() -> None:
    nifti = scan("/data/dicom.nii.gz", "dicom")
    assert scan_title(Scan(nifti.name, nifti.source, nifti.volume)) is None
