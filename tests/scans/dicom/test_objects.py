"""LABELMAP, RTSTRUCT and SR of a label map, read with pydicom alone."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from conftest import random_ct
from dicom_series import ct_slices, save_slices
from matplotlib.path import Path as Outline
from orientations import oblique_affine
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import RTStructureSetStorage, generate_uid

from vertseg.core.errors import UserError
from vertseg.scans.dicom.measurements import Evaluation, Measure, write_measurements
from vertseg.scans.dicom.segmentation import write_segmentation
from vertseg.scans.dicom.structures import write_structure_set
from vertseg.scans.read import Scan, read_scan

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
CT = random_ct((12, 10, 8))
MASK = np.zeros(CT.shape, np.uint8)
MASK[2:9, 3:8, 1:4], MASK[3:8, 2:7, 5:7] = 21, 20
MASK[4:6, 5, 1:4] = 0  # a canal
MASK[10, 1, 2] = 28

TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "SeriesNumber", "OperatorsName",
    "PositionReferenceIndicator", "Manufacturer", "StructureSetDate", "StructureSetTime",
)  # fmt: skip
"""Attributes that a structure set states, empty if unknown (PS3.3 A.19)."""


@pytest.fixture(params=["slices", "tilted", "multi-frame", "de-identified"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Scan:
    def edit(dataset: Dataset, index: int) -> None:
        if request.param == "tilted":
            down = np.array(dataset.ImageOrientationPatient[3:], float) * dataset.PixelSpacing[0]
            position = np.array(dataset.ImagePositionPatient, float) + index * down
            dataset.ImagePositionPatient = [round(float(value), 6) for value in position]
        if request.param == "de-identified":
            for keyword in (
                "PatientName", "StudyDate", "StudyTime", "StudyID", "Manufacturer",
                "PositionReferenceIndicator",
            ):  # fmt: skip
                delattr(dataset, keyword)
            dataset.PatientSex = "REMOVED"
            dataset.PatientIdentityRemoved = "YES"

    folder = tmp_path / "scan"
    slices = ct_slices(CT, oblique_affine(), edit=edit)
    save_slices(folder, slices)
    if request.param == "multi-frame":
        for path in folder.iterdir():
            path.unlink()
        hd.legacy.LegacyConvertedEnhancedCTImage(
            slices, generate_uid(), 1, generate_uid(), 1
        ).save_as(folder / "all.dcm")
    return read_scan(folder)


def mask_of(scan: Scan) -> np.ndarray:
    """The label map at the end of the volume's axes; a tilted one has more rows in front."""
    mask = np.zeros(scan.volume.array.shape, np.uint8)
    mask[:, -MASK.shape[1] :] = MASK
    return mask


def source_files(scan: Scan) -> dict[str, Dataset]:
    return {one.SOPInstanceUID: one for one in map(dcmread, sorted(scan.source.iterdir()))}


def on_slices(scan: Scan) -> np.ndarray:
    return scan.series.on_slices(mask_of(scan), scan.volume.native)


def test_a_labelmap_holds_verses_values(tmp_path: Path, scan: Scan) -> None:
    path = tmp_path / "labelmap.dcm"
    write_segmentation(path, mask_of(scan), scan.volume.native, scan.series, form="LABELMAP")
    dataset = dcmread(path)
    assert dataset.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    assert dataset.SegmentationType == "LABELMAP" and dataset.Modality == "SEG"
    named = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    assert {number: named[number] for number in (20, 21, 28)} == {20: "L1", 21: "L2", 28: "T13"}
    places = {tuple(np.round(f.position_mm, 3)): i for i, f in enumerate(scan.series.frames)}
    rebuilt = np.zeros(on_slices(scan).shape, np.uint8)
    planes = np.atleast_3d(dataset.pixel_array)
    for group, plane in zip(dataset.PerFrameFunctionalGroupsSequence, planes, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rebuilt[places[tuple(np.round(position, 3))]] = plane
    np.testing.assert_array_equal(rebuilt, on_slices(scan))


def test_contours_enclose_the_masks_voxels(tmp_path: Path, scan: Scan) -> None:
    path = tmp_path / "rtstruct.dcm"
    write_structure_set(path, mask_of(scan), scan.volume.native, scan.series)
    dataset, files = dcmread(path), source_files(scan)
    first = next(iter(files.values()))
    assert dataset.SOPClassUID == RTStructureSetStorage and dataset.Modality == "RTSTRUCT"
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == first[keyword].value
    assert {one for one in TYPE_2 if one not in dataset} == set()
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    (referenced,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referenced.ContourImageSequence} == set(files)
    names = {item.ROINumber: item.ROIName for item in dataset.StructureSetROISequence}
    assert names == {20: "L1", 21: "L2", 28: "T13"}
    assert [item.ReferencedROINumber for item in dataset.RTROIObservationsSequence] == [28, 20, 21]

    place = {(frame.instance, frame.index): i for i, frame in enumerate(scan.series.frames)}
    number = {header.SOPInstanceUID: i for i, header in enumerate(scan.series.headers)}
    rebuilt = np.zeros(on_slices(scan).shape, np.uint8)
    rows, columns = np.indices(rebuilt.shape[1:])
    for region in dataset.ROIContourSequence:
        assert len(region.ROIDisplayColor) == 3
        for contour in region.ContourSequence:
            (image,) = contour.ContourImageSequence
            index = image.get("ReferencedFrameNumber", 1) - 1
            plane = place[number[image.ReferencedSOPInstanceUID], index]
            frame = scan.series.frames[plane]
            points = np.array(contour.ContourData, float).reshape(-1, 3) - frame.position_mm
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert len(points) == contour.NumberOfContourPoints
            assert np.abs(points @ frame.normal).max() < 2e-3
            corners = points @ frame.axes.T / frame.spacing_mm
            outline = Outline(np.vstack([corners, corners[:1]]))
            centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
            inside = outline.contains_points(centres).reshape(rows.shape)
            rebuilt[plane][inside] = region.ReferencedROINumber
    np.testing.assert_array_equal(rebuilt, on_slices(scan))


def test_measures_refer_to_segments(tmp_path: Path, scan: Scan) -> None:
    mask, native, series = mask_of(scan), scan.volume.native, scan.series
    segmentation = write_segmentation(tmp_path / "seg.dcm", mask, native, series)
    millilitres = Code("ml", "UCUM", "milliliter")
    grade = Evaluation(Code("GENANT", "99VERTSEG", "Genant grade"), Code("G1", "99VERTSEG", "mild"))
    measures = {
        20: [Measure(codes.SCT.Volume, 12.5, millilitres), grade],
        21: [Measure(codes.SCT.Volume, 20.0, millilitres)],
    }
    path = tmp_path / "sr.dcm"
    write_measurements(path, measures, segmentation, series, "net")
    dataset, files = dcmread(path), source_files(scan)
    assert dataset.Modality == "SR" and dataset.VerificationFlag == "UNVERIFIED"
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert dataset.StudyInstanceUID == next(iter(files.values())).StudyInstanceUID
    evidence = {
        image.ReferencedSOPInstanceUID
        for keyword in ("CurrentRequestedProcedureEvidenceSequence",
                        "PertinentOtherEvidenceSequence")
        for study in dataset.get(keyword, [])
        for one in study.ReferencedSeriesSequence
        for image in one.ReferencedSOPSequence
    }  # fmt: skip
    assert evidence == {*files, segmentation.SOPInstanceUID}
    groups = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    found = {}
    for group in groups:
        (volume,) = group.get_measurements(codes.SCT.Volume)
        found[group.tracking_identifier] = volume.value
        assert volume.unit == millilitres
        segments = group.referenced_segment.referenced_segment_numbers
        label = {item.SegmentNumber: item.SegmentLabel for item in segmentation.SegmentSequence}
        assert [label[number] for number in segments] == [group.tracking_identifier]
    assert found == {"L1": 12.5, "L2": 20.0}
    answers = [
        (group.tracking_identifier, one.value)
        for group in groups
        for one in group.get_qualitative_evaluations()
        if one.name == grade.name
    ]
    assert answers == [("L1", grade.value)]


def test_an_empty_label_map_has_no_contours(tmp_path: Path, scan: Scan) -> None:
    with pytest.raises(UserError, match="no contours to write"):
        empty = np.zeros(scan.volume.array.shape, np.uint8)
        write_structure_set(tmp_path / "x.dcm", empty, scan.volume.native, scan.series)
