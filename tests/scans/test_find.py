"""The search for scans in folders as hospitals, data sets and this program make them."""

import gzip
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_series import ct_slices, save_slices
from pydicom import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from vertseg.core.errors import UserError
from vertseg.dataset.layout import OWN_SCAN_SUFFIXES
from vertseg.dataset.sources import own_scans
from vertseg.scans import find
from vertseg.scans.dicom.first_elements import file_elements
from vertseg.scans.find import VIEWER_CT_SUFFIX, find_scans, one_path_each

HU = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)


def image(path: Path, dtype: type = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(HU.astype(dtype), np.eye(4)), path)
    return path


def series(folder: Path, number: int = 4, **changes: object) -> Path:
    def change(dataset: Dataset, _: int) -> None:
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)

    return save_slices(folder, ct_slices(HU, np.eye(4), edit=change)[:number])


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_scans(folder)]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    elsewhere = image(tmp_path / "elsewhere/p2/p2_ct.nii.gz").parent
    slices = series(tmp_path / "elsewhere/p4")
    scans = image(tmp_path / "scans/p1/p1_ct.nii.gz").parents[1]
    (scans / "p2").symlink_to(elsewhere)
    (scans / "p3_ct.nii.gz").symlink_to(elsewhere / "p2_ct.nii.gz")
    (scans / "p4").mkdir()
    for file in slices.iterdir():
        (scans / "p4" / file.name).symlink_to(file)
    (scans / "p1/again").symlink_to(scans)
    (scans / "above").symlink_to(tmp_path)
    (scans / "back").symlink_to(scans / "p1")
    assert found(scans) == ["p1/p1_ct.nii.gz", "p2/p2_ct.nii.gz", "p3_ct.nii.gz", "p4"]
    (scans / "p5.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(UserError, match=r"p5\.nii\.gz: a link to .*gone.*missing"):
        find_scans(scans)


def test_a_folder_of_links_alone(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere/x_ct.nii.gz")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/p1").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "scans") == ["p1/x_ct.nii.gz"]


def test_a_hospitals_disc(tmp_path: Path) -> None:
    disc = FileSet()
    for dataset in ct_slices(HU, np.eye(4)):
        dataset.StudyID = "1"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        disc.add(dataset)
    disc.write(tmp_path)
    (tmp_path / "README.TXT").write_text("viewer\n")
    (tmp_path / "VIEWER.EXE").write_bytes(b"MZ")
    assert found(tmp_path) == ["PT000000/ST000000/SE000000"]


def test_notes_and_sidecars_are_no_scans(tmp_path: Path) -> None:
    series(tmp_path / "A")
    series(tmp_path / "B")
    image(tmp_path / "sub-1/sub-1_ct.nii.gz")
    for name in ("participants.tsv", "dataset_description.json", "sub-1/sub-1_ct.json", "doc/a.pdf",
                 "B/README"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert found(tmp_path) == ["A", "B", "sub-1/sub-1_ct.nii.gz"]


def test_images_beside_dicom_slices(tmp_path: Path) -> None:
    series(tmp_path / "p1")
    image(tmp_path / "p1/lesion.nii.gz", np.uint8)
    series(tmp_path / "p2")
    image(tmp_path / "p2/other_ct.nii")
    assert found(tmp_path) == ["p1", "p2", "p2/other_ct.nii"]


@pytest.mark.parametrize(
    "name",
    ["sub-x_seg-vert_msk.nii.gz", "sub-x_dseg.nii.gz", "verse005_seg.nii.gz", "sub-x_mask.nii",
     "segmentations/liver.nii.gz", "labelsTr/x.nii.gz", "vertebrae_L1.nii.gz", "x.seg.nrrd"],
)  # fmt: skip
def test_masks_are_known_by_their_names(tmp_path: Path, name: str, caplog) -> None:
    image(tmp_path / "p1/ct.nii.gz")
    (tmp_path / "p1" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "p1" / name).touch()
    assert found(tmp_path) == ["p1/ct.nii.gz"]
    assert f"1 masks passed over: p1/{name}" in caplog.text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_masks_are_known_by_voxels_of_8_bits(tmp_path: Path, suffix: str) -> None:
    for name, dtype in (("spine", np.uint8), ("scan", np.int16)):
        sitk.WriteImage(sitk.GetImageFromArray(HU.astype(dtype)), tmp_path / f"{name}{suffix}")
    assert found(tmp_path) == [f"scan{suffix}"]


def test_rescaled_8_bits_labels_and_nifti_2(tmp_path: Path) -> None:
    rescaled = nib.Nifti1Image(HU.astype(np.uint8), np.eye(4))
    rescaled.header.set_slope_inter(8, -1024)
    nib.save(rescaled, tmp_path / "ct.nii")
    labels = nib.Nifti1Image(HU, np.eye(4))
    labels.header.set_intent("label")
    nib.save(labels, tmp_path / "labels.nii.gz")
    for name, dtype in (("two", np.int16), ("bits", np.int8)):
        nib.save(nib.Nifti2Image(HU.astype(dtype), np.eye(4)), tmp_path / f"{name}.nii.gz")
    # Damaged images are kept: reading them names the fault.
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(b"short")[:-3])
    (tmp_path / "wrong.nii").write_bytes(b"no image")
    assert found(tmp_path) == ["ct.nii", "short.nii.gz", "two.nii.gz", "wrong.nii"]


def test_a_data_set_of_masks_and_scans(tmp_path: Path) -> None:
    for patient in ("s0001", "s0002"):
        image(tmp_path / patient / "ct.nii.gz")
        for label in ("L1", "L2"):
            image(tmp_path / f"{patient}/segmentations/vertebrae_{label}.nii.gz", np.uint8)
    assert found(tmp_path) == ["s0001/ct.nii.gz", "s0002/ct.nii.gz"]
    with pytest.raises(UserError, match=r"holds no scan.*\n  2 masks passed over: vertebrae_L1"):
        find_scans(tmp_path / "s0001/segmentations")


DICOM_OBJECTS = {
    "dicom_seg": SegmentationStorage,
    "dicom_labelmap": "1.2.840.10008.5.1.4.1.1.66.7",
    "dicom_rtstruct": RTStructureSetStorage,
    "dicom_sr": Comprehensive3DSRStorage,
}


def test_our_own_results_are_passed_over(tmp_path: Path) -> None:
    image(tmp_path / "scans/sub-x_ct.nii.gz")
    earlier = tmp_path / "scans/earlier"
    for suffix in (*OWN_SCAN_SUFFIXES.values(), VIEWER_CT_SUFFIX):
        if suffix.endswith(".nii.gz"):
            image(earlier / f"sub-x{suffix}", np.int16 if "ct" in suffix else np.uint8)
        else:
            (earlier / f"sub-x{suffix}").write_text("{}")
    for kind, sop_class in DICOM_OBJECTS.items():
        (written,) = series(tmp_path / kind, 1, SOPClassUID=sop_class).iterdir()
        written.rename(earlier / f"sub-x{OWN_SCAN_SUFFIXES[kind]}")
    assert found(tmp_path / "scans") == ["sub-x_ct.nii.gz"]
    results = tmp_path / "scans/results"
    image(results / "data/phantom_ct.nii.gz")
    config = {"predict": {"scans": str(tmp_path / "scans")}, "results": str(results)}
    assert list(own_scans(config)) == ["sub-x"]
    config["predict"]["scans"] = str(results / "data")
    assert list(own_scans(config)) == ["phantom"]


def test_dicom_objects_and_series_of_no_ct_are_passed_over(tmp_path: Path, caplog) -> None:
    series(tmp_path / "rt", 1, SOPClassUID=RTStructureSetStorage, Modality="RTSTRUCT")
    series(tmp_path / "scout", 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series(tmp_path / "mr", Modality="MR")
    series(tmp_path / "dose", 1, SOPClassUID=SecondaryCaptureImageStorage, ImagePositionPatient="")
    series(tmp_path / "mixed", 1, Modality="MR")
    for file in series(tmp_path / "more").iterdir():
        file.rename(tmp_path / "mixed" / f"X{file.name}")
    assert found(tmp_path) == ["mixed"]
    assert "modality MR, not CT) passed over: mr" in caplog.text
    assert "(localisers) passed over: scout" in caplog.text
    assert "(secondary captures) passed over: dose" in caplog.text


def test_series_below_a_folder_with_slices(tmp_path: Path, caplog) -> None:
    one, other = generate_uid(), generate_uid()
    series(tmp_path / "p1", SeriesInstanceUID=one)
    series(tmp_path / "p1/more", SeriesInstanceUID=one)
    series(tmp_path / "p2", SeriesInstanceUID=other)
    series(tmp_path / "p2/bone")
    assert found(tmp_path) == ["p1", "p2/IM0000.dcm", "p2/bone"]
    assert not caplog.text
    series(tmp_path / "p3", SeriesInstanceUID=other)
    find_scans(tmp_path)
    assert "2 folders with one series' UID: p2, p3" in caplog.text


def test_archives(tmp_path: Path) -> None:
    contents = {"scan": image(tmp_path / "x/a.nii"), "notes": tmp_path / "notes.txt",
                "slices": next(series(tmp_path / "s").iterdir())}  # fmt: skip
    contents["notes"].write_text("nothing")
    for name, file in contents.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.write(file, file.name)
    (tmp_path / "damaged.zip").write_bytes(b"PK")
    archives = [name for name in found(tmp_path) if name.endswith(".zip")]
    assert archives == ["damaged.zip", "scan.zip", "slices.zip"]


def test_few_files_of_a_folder_are_opened(tmp_path: Path, monkeypatch) -> None:
    for patient in ("a", "b"):
        series(tmp_path / patient)
        file = next((tmp_path / patient).iterdir())
        for number in range(300):
            (tmp_path / patient / f"{number}.dcm").hardlink_to(file)
    opened = []

    def watched(path: Path) -> object:
        opened.append(path)
        return file_elements(path)

    monkeypatch.setattr(find, "file_elements", watched)
    assert found(tmp_path) == ["a", "b"]
    assert len(opened) == 2


def test_each_series_is_given_once(tmp_path: Path) -> None:
    first, second = series(tmp_path / "a"), series(tmp_path / "b")
    for file in list(second.iterdir()):
        file.rename(first / f"Z{file.name}")
    files = sorted(first.iterdir())
    assert one_path_each(files) == [files[0], files[4]]
    alone = series(tmp_path / "c")
    assert one_path_each([alone, *sorted(alone.iterdir())]) == [alone]
    assert one_path_each([first, files[0]]) == [first, files[0]]
    others = [image(tmp_path / "x.nii"), tmp_path / "absent", tmp_path / "x.nii"]
    assert one_path_each(others) == others


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_first_elements_are_those_of_pydicom(tmp_path: Path, syntax, undefined: bool) -> None:
    dataset = ct_slices(HU, np.eye(4))[0]
    item = Dataset()
    item.SeriesInstanceUID = generate_uid()
    item.ReferencedImageSequence = [Dataset()]
    dataset.ReferencedSeriesSequence = [item, Dataset()]
    dataset["ReferencedSeriesSequence"].is_undefined_length = undefined
    item["ReferencedImageSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "a"
    dataset.save_as(path, enforce_file_format=True)
    elements = file_elements(path)
    assert elements and elements.is_image and not elements.unusable_reason
    assert elements.sop_class == dataset.SOPClassUID and elements.modality == "CT"
    assert elements.series == dataset.SeriesInstanceUID and elements.position
    if syntax is not ExplicitVRBigEndian:
        path.write_bytes(path.read_bytes()[132:])
        assert file_elements(path) == elements


def test_damaged_first_elements_raise_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = bytearray((series(tmp_path / "a") / "IM0000.dcm").read_bytes()[:1200])
    path = tmp_path / "damaged"
    for _ in range(300):
        damaged = whole.copy()
        for place in rng.integers(0, len(whole), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged[: rng.integers(1, len(whole))])
        file_elements(path)
