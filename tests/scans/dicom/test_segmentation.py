import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from conftest import REAL_DATA, random_ct
from dicom_series import PLANES, ct_slices, save_slices
from orientations import oblique_affine
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.core.errors import UserError
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.scans.dicom.segmentation import vertebra_code, write_segmentation
from vertseg.scans.read import Scan, read_scan

SNOMED = {
    "C1": "14806007", "C2": "39976000", "C7": "87391001", "T1": "64864005", "T6": "45296009",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002",
    "L5": "49668003", "T13": "51282000", "L6": "51282000",
}  # fmt: skip
"""SNOMED CT's codes as published; the last two are "Vertebra"."""


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """Every third voxel of a phantom: each segment costs a frame a slice."""
    whole = generate_phantom(4, preset("demo"))
    thin = (slice(None, None, 3),) * 3
    affine = whole.affine @ np.diag([3.0, 3.0, 3.0, 1.0])
    return replace(whole, ct=whole.ct[thin], mask=whole.mask[thin], affine=affine)


def write(scan: Scan, mask: np.ndarray, path: Path) -> Path:
    assert scan.series is not None
    write_segmentation(path, mask, scan.volume.native, scan.series, model="mobilenet_aspp")
    return path


def labels_in_world(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The file's label map (voxel axes as highdicom stores them) and affine to RAS+ mm."""
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True, skip_overlap_checks=False)
    value = {name: label for label, name in NAMES.items()}
    table = np.array(
        [0]
        + [value[segmentation.get_segment_description(n).segment_label]
           for n in segmentation.segment_numbers]
    )  # fmt: skip
    return table[volume.array], np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine


def assert_holds(path: Path, mask: np.ndarray, affine: np.ndarray) -> None:
    """Every labelled voxel of the file, at its place in the patient, is the mask's."""
    found, found_affine = labels_in_world(path)
    voxels = np.argwhere(found)
    in_mask = nib.affines.apply_affine(np.linalg.inv(affine) @ found_affine, voxels)
    np.testing.assert_allclose(in_mask, np.rint(in_mask), atol=0.01)
    rebuilt = np.zeros_like(mask)
    rebuilt[tuple(np.rint(in_mask).astype(int).T)] = found[tuple(voxels.T)]
    np.testing.assert_array_equal(rebuilt, mask)


def rebuilt_by_pydicom(path: Path, slices: list[Dataset]) -> dict[str, np.ndarray]:
    """Segments by name as (slices, rows, columns), placed by the UIDs of the source slices."""
    dataset = dcmread(path)
    place = {item.SOPInstanceUID: index for index, item in enumerate(slices)}
    names = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    shape = (len(slices), dataset.Rows, dataset.Columns)
    found = {name: np.zeros(shape, bool) for name in names.values()}
    for group, plane in zip(
        dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True
    ):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == slices[place[source]].ImagePositionPatient
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[names[number]][place[source]] = plane
    return found


@pytest.mark.parametrize("plane", PLANES)
def test_a_segmentation_lies_where_its_mask_does(
    tmp_path: Path, phantom: Phantom, plane: str
) -> None:
    slices = ct_slices(phantom.ct, phantom.affine, plane)
    scan = read_scan(save_slices(tmp_path / "scan", slices))

    path = write(scan, phantom.mask, tmp_path / "seg.dcm")

    assert_holds(path, phantom.mask, phantom.affine)
    to_plane = nib.orientations.ornt_transform(
        nib.io_orientation(phantom.affine), nib.orientations.axcodes2ornt(PLANES[plane])
    )
    stored = nib.orientations.apply_orientation(phantom.mask, to_plane).transpose(2, 1, 0)
    found = rebuilt_by_pydicom(path, slices)
    assert set(found) == {NAMES[label] for label in np.unique(phantom.mask) if label}
    for label, name in NAMES.items():
        if name in found:
            np.testing.assert_array_equal(found[name], stored == label)


def test_a_tilted_series_is_referred_to_slice_by_slice(tmp_path: Path) -> None:
    ct, affine = random_ct((12, 10, 8)), np.diag([0.8, 0.8, 2.0, 1])

    def edit(dataset: Dataset, index: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, round(float(y) + 0.8 * index, 6), z]

    slices = ct_slices(ct, affine, edit=edit)
    scan = read_scan(save_slices(tmp_path / "scan", slices))
    assert scan.volume.array.shape == (12, 17, 8)
    mask = np.zeros(scan.volume.array.shape, np.uint8)
    mask[3:9, 7:12, 2:7], mask[:2] = 20, 21
    found = rebuilt_by_pydicom(write(scan, mask, tmp_path / "seg.dcm"), slices)
    for index, plane in enumerate(found["L1"]):
        # Row r of slice i lies at y = -0.8 (r + i); the lowest voxel of the volume at -0.8 * 16.
        rows, _ = np.nonzero(plane)
        inside = [r for r in range(10) if 7 <= 16 - (r + index) < 12 and 2 <= index < 7]
        assert rows.tolist() == sorted(6 * inside)


def test_a_multi_frame_series_is_referred_to(tmp_path: Path) -> None:
    ct = random_ct((12, 10, 8))
    mask = np.zeros(ct.shape, np.uint8)
    mask[2:9, 3:8, 1:4], mask[3:8, 2:7, 5:7] = 21, 20
    slices = ct_slices(ct, oblique_affine())
    hd.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1).save_as(
        tmp_path / "all.dcm"
    )
    scan = read_scan(tmp_path / "all.dcm")
    assert [frame.index for frame in scan.series.frames] == list(range(7, -1, -1))
    assert_holds(write(scan, mask, tmp_path / "seg.dcm"), mask, oblique_affine())


def test_the_real_series_is_referred_to(tmp_path: Path) -> None:
    folder = REAL_DATA / "dicom_crlm_ct_1004"
    if not folder.is_dir():
        pytest.skip(f"no DICOM series at {folder}")
    scan = read_scan(folder)
    mask = np.zeros(scan.volume.array.shape, np.uint8)
    for index, label in enumerate([24, 23, 22, 21, 20, 28, 19]):
        mask[240:280 + index, 200:260 - index, 5 * index:5 * index + 4] = label  # fmt: skip
    path = write(scan, mask, tmp_path / "seg.dcm")
    assert_holds(path, mask, scan.volume.affine)
    dataset, source = dcmread(path), dcmread(folder / "1-01.dcm")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert dataset[keyword].value == source[keyword].value
    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == 41


def test_segments_name_and_code_their_vertebrae(tmp_path: Path) -> None:
    ct = random_ct((30, 6, 5))
    scan = read_scan(save_slices(tmp_path / "scan", ct_slices(ct, np.eye(4))))
    mask = np.zeros(ct.shape, np.uint8)
    for index, label in enumerate(sorted(NAMES)):
        mask[index, 1:4, 2] = label

    dataset = dcmread(write(scan, mask, tmp_path / "seg.dcm"))

    labels = [item.SegmentLabel for item in dataset.SegmentSequence]
    assert labels == [NAMES[label] for label in CRANIOCAUDAL]
    for item in dataset.SegmentSequence:
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        assert kind.CodingSchemeDesignator == "SCT"
        assert kind.CodeValue == SNOMED.get(item.SegmentLabel, kind.CodeValue)
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == (
            "mobilenet_aspp"
        )
        assert len(item.RecommendedDisplayCIELabValue) == 3
    codes = [vertebra_code(label).value for label in NAMES if NAMES[label] not in ("T13", "L6")]
    assert len(set(codes)) == 24
    assert dataset.Modality == "SEG"
    assert dataset.SegmentationType == "BINARY"
    assert "Research use only" in dataset.ContentDescription
    assert dataset.SeriesInstanceUID != scan.series.headers[0].SeriesInstanceUID


def test_a_series_stripped_of_the_patients_data_will_do(tmp_path: Path) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"):
            delattr(dataset, keyword)

    ct = random_ct((6, 6, 5))
    scan = read_scan(save_slices(tmp_path / "scan", ct_slices(ct, np.eye(4), edit=strip)))
    mask = np.full(ct.shape, 20, np.uint8)
    assert_holds(write(scan, mask, tmp_path / "seg.dcm"), mask, np.eye(4))
    assert "PatientID" not in scan.series.headers[0]


def with_raw_value(dataset: Dataset, keyword: str, value: bytes | None) -> None:
    """Store bytes that pydicom would refuse; None removes the attribute."""
    tag = Tag(keyword)
    dataset.pop(tag, None)
    if value is not None:
        kind = dictionary_VR(tag)
        dataset[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)


DEIDENTIFIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientComments", "EthnicGroup", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "SeriesDescription",
    "InstanceNumber", "Manufacturer", "SliceThickness", "SpecificCharacterSet",
    "PositionReferenceIndicator", "LossyImageCompression", "ImageType", "AcquisitionDate",
)  # fmt: skip


@pytest.mark.parametrize("value", [None, b"", b"ANONYMIZED"], ids=["missing", "blank", "word"])
def test_deidentified_headers_are_mended(tmp_path: Path, value: bytes | None) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        for keyword in DEIDENTIFIED:
            with_raw_value(dataset, keyword, value)

    ct = random_ct((6, 6, 5))
    slices = ct_slices(ct, np.diag([0.8, 0.8, 2.0, 1.0]), edit=edit)
    scan = read_scan(save_slices(tmp_path / "scan", slices))
    mask = np.full(ct.shape, 20, np.uint8)
    path = write(scan, mask, tmp_path / "seg.dcm")
    assert_holds(path, mask, scan.volume.affine)
    dataset = dcmread(path)
    assert dataset.StudyDate == dataset.PatientSex == dataset.PatientBirthDate == ""
    assert str(dataset.PatientName) == (value or b"").decode()
    assert dataset.SeriesNumber == 1000
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 2


def test_uids_replaced_by_words_are_referred_to_as_they_are(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        with_raw_value(dataset, "StudyInstanceUID", b"anonymized")

    ct = random_ct((6, 6, 5))
    scan = read_scan(save_slices(tmp_path / "scan", ct_slices(ct, np.eye(4), edit=edit)))
    mask = np.full(ct.shape, 20, np.uint8)
    assert dcmread(write(scan, mask, tmp_path / "seg.dcm")).StudyInstanceUID == "anonymized"


def test_names_keep_their_letters(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Köhler^Jürgen"

    ct = random_ct((6, 6, 5))
    scan = read_scan(save_slices(tmp_path / "scan", ct_slices(ct, np.eye(4), edit=edit)))
    path = write(scan, np.full(ct.shape, 20, np.uint8), tmp_path / "seg.dcm")
    assert dcmread(path).PatientName == "Köhler^Jürgen"


UNREFERABLE = {
    "frame of reference": ("FrameOfReferenceUID", b"", "states no frame of reference"),
    "study": ("StudyInstanceUID", b"", "states no StudyInstanceUID"),
    "one UID": ("SOPInstanceUID", b"1.2.3", "has files with an empty or repeated SOPInstanceUID"),
    "kind": ("SOPClassUID", b"anonymized", "states an unknown SOPClassUID"),
}


@pytest.mark.parametrize("case", UNREFERABLE)
def test_series_that_cannot_be_referred_to(tmp_path: Path, case: str) -> None:
    keyword, value, message = UNREFERABLE[case]
    ct = random_ct((6, 6, 5))
    slices = ct_slices(ct, np.eye(4))
    for index, dataset in enumerate(slices):
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        with_raw_value(dataset, keyword, value)
        dataset.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    scan = read_scan(tmp_path)
    with pytest.raises(UserError, match=f"The series 3 'spine' .* {message}"):
        write(scan, np.full(ct.shape, 20, np.uint8), tmp_path / "seg.dcm")


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        del dataset.FrameOfReferenceUID

    ct = random_ct((6, 6, 5))
    scan = read_scan(save_slices(tmp_path / "scan", ct_slices(ct, np.eye(4), edit=strip)))
    target = tmp_path / "out/seg.dcm"
    with pytest.raises(UserError, match="no vertebra was found"):
        write(scan, np.zeros(ct.shape, np.uint8), target)
    with pytest.raises(UserError, match=r"3 'spine' .* states no frame of reference"):
        write(scan, np.full(ct.shape, 20, np.uint8), target)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r"pip install 'vertseg\[dicom-seg\]'"):
        write(scan, np.full(ct.shape, 20, np.uint8), target)
    assert not target.parent.exists()
