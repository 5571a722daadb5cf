import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conftest import REAL_DATA, random_ct
from dicom_series import PLANES, compress_with_itk, ct_slices, save_slices
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import oblique_affine
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from vertseg.core.errors import UserError
from vertseg.scans import zips
from vertseg.scans.dicom.series import read_series

AFFINE = oblique_affine()


def small_ct(shape: tuple[int, int, int] = (12, 10, 8)) -> np.ndarray:
    return random_ct(shape)


def itk_reading(folder: Path) -> nib.Nifti1Image:
    """The series as ITK reads it."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.WriteImage(reader.Execute(), str(folder / "itk.nii.gz"))
    return nib.load(folder / "itk.nii.gz")


def assert_reads_as(path: Path, ct: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    volume, _ = read_series(path)
    np.testing.assert_array_equal(volume.array, ct)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(plane=st.sampled_from(sorted(PLANES)), degrees=st.floats(-40, 40))
def test_a_series_is_read_as_itk_reads_it(
    tmp_path_factory: pytest.TempPathFactory, plane: str, degrees: float
) -> None:
    folder = tmp_path_factory.mktemp("series")
    ct, affine = small_ct(), oblique_affine(degrees)
    save_slices(folder, ct_slices(ct, affine, plane))
    volume, series = read_series(folder)
    itk = itk_reading(folder)
    assert volume.native.shape == itk.shape
    np.testing.assert_allclose(volume.native.affine, itk.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.array, ct)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert len(series.headers) == len(series.frames) == itk.shape[2]


def test_the_real_series_is_read_as_itk_reads_it(tmp_path: Path) -> None:
    source = REAL_DATA / "dicom_crlm_ct_1004"
    if not source.is_dir():
        pytest.skip(f"no DICOM series at {source}")
    folder = tmp_path / "series"
    folder.mkdir()
    for path in sorted(source.iterdir())[:12]:
        shutil.copy(path, folder)
    volume, series = read_series(folder)
    itk = itk_reading(folder)
    stored = np.asarray(itk.dataobj)
    assert stored.min() == -3024
    expected = nib.Nifti1Image(np.maximum(stored, -1024).astype(np.int16), itk.affine)
    np.testing.assert_array_equal(volume.array, nib.as_closest_canonical(expected).dataobj)
    np.testing.assert_allclose(volume.native.affine, itk.affine, atol=1e-4)
    assert series.description == "2 'CT CH/AB/PEL' (CT, 12 images)"


def rescaled(slope: float, intercept: float) -> Callable[[Dataset, int], None]:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    return edit


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, -2048), (0.5, -600.25)])
def test_rescaling_gives_whole_hu(tmp_path: Path, slope: float, intercept: float) -> None:
    ct = small_ct()
    save_slices(tmp_path, ct_slices(ct, AFFINE, edit=rescaled(slope, intercept)))
    hu = (ct.astype(np.float64) + 1024) * slope + intercept
    assert_reads_as(tmp_path, np.rint(hu).clip(-1024, 32767).astype(np.int16))


def test_each_slice_has_its_own_rescaling(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.RescaleIntercept = -1024 + index

    save_slices(tmp_path, ct_slices(small_ct(), AFFINE, edit=edit))
    assert_reads_as(tmp_path, small_ct() + np.arange(8, dtype=np.int16))


@pytest.mark.parametrize(
    ("padding", "limit", "air"),
    [
        (60000, None, True),
        (60000, 61000, True),
        (0, None, True),
        (1074, None, False),
        (1000, 1100, False),
    ],
)
def test_padding_is_air_unless_it_would_be_tissue(
    tmp_path: Path, padding: int, limit: int | None, air: bool
) -> None:
    ct = small_ct().astype(np.int32)
    ct[:3] = padding - 1024
    ct[3:5] = (limit or padding) - 1024

    def edit(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", padding)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "US", limit)

    save_slices(tmp_path, ct_slices(ct, AFFINE, edit=edit))
    expected = ct.copy()
    if air:
        expected[:5] = -1024
    assert_reads_as(tmp_path, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_series_compressed_by_pydicom_are_read(tmp_path: Path, syntax: str) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    for dataset in slices:
        dataset.compress(syntax, generate_instance_uid=False)
    assert_reads_as(save_slices(tmp_path, slices), small_ct())


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_series_compressed_by_itk_are_read(tmp_path: Path, compressor: str) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    compress_with_itk(slices, compressor, tmp_path)
    assert "JPEG" in slices[0].file_meta.TransferSyntaxUID.name
    assert_reads_as(save_slices(tmp_path, slices), small_ct())


def enhanced(slices: list[Dataset]) -> Dataset:
    """One multi-frame file of a series; highdicom orders its frames its own way."""
    return hd.legacy.LegacyConvertedEnhancedCTImage(
        slices, generate_uid(), 1, generate_uid(), 1, transfer_syntax_uid="1.2.840.10008.1.2.1"
    )


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_multi_frame_series_are_read(tmp_path: Path, plane: str, compressed: bool) -> None:
    enhanced(ct_slices(small_ct(), AFFINE, plane)).save_as(tmp_path / "all.dcm")
    if compressed:
        dataset = dcmread(tmp_path / "all.dcm")
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        dataset.save_as(tmp_path / "all.dcm")
    assert_reads_as(tmp_path, small_ct())
    assert_reads_as(tmp_path / "all.dcm", small_ct())


@pytest.mark.parametrize("order", [[*range(7, -1, -1)], [0, 2, 4, 6, 1, 3, 5, 7]], ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_frames_may_be_stored_in_any_order(tmp_path: Path, order: list[int], shared: bool) -> None:
    """Rescaling is stated once for all frames, or differs between them."""
    dataset = enhanced(ct_slices(small_ct(), AFFINE))
    frames = [dataset.PerFrameFunctionalGroupsSequence[index] for index in order]
    voxels = dataset.pixel_array[order].astype(np.int32)
    dataset.PerFrameFunctionalGroupsSequence = frames
    (common,) = dataset.SharedFunctionalGroupsSequence
    for groups in (common, *frames):
        groups.pop("PixelValueTransformationSequence", None)
    for index, groups in enumerate([common] if shared else frames):
        rescaling = Dataset()
        rescaling.RescaleSlope, rescaling.RescaleIntercept = 1, -1024 - index
        rescaling.RescaleType = "HU"
        groups.PixelValueTransformationSequence = [rescaling]
        if not shared:
            voxels[index] += index
    dataset.PixelData = voxels.astype("<u2").tobytes()
    dataset.save_as(tmp_path / "all.dcm")
    assert_reads_as(tmp_path, small_ct())


@pytest.mark.parametrize("above", [0, 0xF000, 0x5000])
def test_bits_above_the_stored_ones_are_no_part_of_a_value(tmp_path: Path, above: int) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        hu = dataset.pixel_array.astype(np.int32) - 1024
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
        dataset.RescaleIntercept = 0
        dataset.PixelData = ((hu & 0x0FFF) | above).astype("<u2").tobytes()

    save_slices(tmp_path, ct_slices(small_ct(), AFFINE, edit=edit))
    assert_reads_as(tmp_path, small_ct())


def test_files_without_mark_suffix_or_use_are_dealt_with(tmp_path: Path) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    for index, dataset in enumerate(slices):
        folder = tmp_path / "DICOM" / f"{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        del dataset.file_meta
        dataset.save_as(
            folder / f"{index}", implicit_vr=True, little_endian=True, enforce_file_format=False
        )
    assert not (tmp_path / "DICOM/0/0").read_bytes()[128:].startswith(b"DICM")
    (tmp_path / "README.txt").write_text("viewer")
    (tmp_path / "autorun.inf").write_bytes(b"")
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    shutil.copy(tmp_path / "DICOM/0/0", tmp_path / "copy")
    assert_reads_as(tmp_path, small_ct())


def localiser(slices: list[Dataset]) -> Dataset:
    dataset = ct_slices(small_ct(), AFFINE)[0]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SeriesDescription, dataset.SeriesNumber = "scout", 1
    dataset.StudyInstanceUID = slices[0].StudyInstanceUID
    return dataset


def dose_sheet() -> Dataset:
    dataset = ct_slices(small_ct(), AFFINE)[0]
    del dataset.ImagePositionPatient
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SeriesDescription, dataset.SeriesNumber = "dose", 999
    return dataset


def report() -> Dataset:
    dataset = ct_slices(small_ct(), AFFINE)[0]
    dataset.Modality, dataset.SOPClassUID = "SR", BasicTextSRStorage
    for keyword in ("Rows", "Columns", "PixelData"):
        del dataset[keyword]
    return dataset


def test_what_comes_with_a_scan_is_passed_over(tmp_path: Path, caplog) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    save_slices(tmp_path / "scan", slices)
    save_slices(tmp_path / "scout", [localiser(slices)])
    save_slices(tmp_path / "other", [dose_sheet()])
    save_slices(tmp_path / "report", [report()])
    with caplog.at_level("INFO", logger="vertseg"):
        assert_reads_as(tmp_path, small_ct())
    assert "passed over: series 1 'scout' (CT, 1 images): a localiser." in caplog.text
    assert "'dose' (CT, 1 images): Secondary Capture Image Storage without a pos" in caplog.text
    assert "(SR, 1 images): not an image" in caplog.text


def test_of_several_series_a_file_or_folder_chooses_one(tmp_path: Path) -> None:
    soft, bone = small_ct(), small_ct() // 2
    save_slices(tmp_path / "a", ct_slices(soft, AFFINE))
    other = ct_slices(bone, AFFINE)
    for dataset in other:
        dataset.SeriesDescription, dataset.SeriesNumber = "bone", 4
    save_slices(tmp_path / "b", other)
    with pytest.raises(UserError) as error:
        read_series(tmp_path)
    message = str(error.value)
    assert "2 CT series here" in message
    assert f"3 'spine' (CT, 8 images): {tmp_path}/a/IM0000.dcm" in message
    assert f"4 'bone' (CT, 8 images): {tmp_path}/b/IM0000.dcm" in message
    assert_reads_as(tmp_path / "b", bone)
    for file in (tmp_path / "b").iterdir():
        shutil.move(file, tmp_path / "a" / f"b_{file.name}")
    with pytest.raises(UserError, match="2 CT series here"):
        read_series(tmp_path / "a")
    assert_reads_as(tmp_path / "a/IM0003.dcm", soft)
    assert_reads_as(tmp_path / "a/b_IM0003.dcm", bone)


def test_a_copy_of_a_file_chooses_its_series_too(tmp_path: Path) -> None:
    save_slices(tmp_path, ct_slices(small_ct(), AFFINE))
    shutil.copy(tmp_path / "IM0002.dcm", tmp_path / "copy.dcm")
    assert_reads_as(tmp_path / "copy.dcm", small_ct())


def test_a_localiser_within_the_series_is_left_out_with_a_warning(tmp_path: Path, caplog) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    scout = localiser(slices)
    scout.SeriesInstanceUID = slices[0].SeriesInstanceUID
    save_slices(tmp_path, [scout, *slices])
    with caplog.at_level("WARNING", logger="vertseg"):
        assert_reads_as(tmp_path, small_ct())
    assert (
        "'spine' (CT, 8 images): Taken without 1 images of the series: a localiser." in caplog.text
    )


Change = Callable[[list[Dataset]], object]


def set_each(**values: object) -> Change:
    def change(slices: list[Dataset]) -> None:
        for dataset in slices:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def set_one(**values: object) -> Change:
    return lambda slices: set_each(**values)(slices[2:3])


def delete(keyword: str) -> Change:
    return lambda slices: [delattr(dataset, keyword) for dataset in slices]


def tilt(slices: list[Dataset]) -> None:
    for index, dataset in enumerate(slices):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, round(float(y) + 2.5 * index, 4), z]


def shift_one(slices: list[Dataset]) -> None:
    x, y, z = slices[3].ImagePositionPatient
    slices[3].ImagePositionPatient = [x, y, float(z) + 0.6]


def two_phases(slices: list[Dataset]) -> None:
    again = ct_slices(small_ct(), np.diag([0.8, 0.8, 2.0, 1.0]))
    set_each(SeriesInstanceUID=slices[0].SeriesInstanceUID)(again)
    slices += again


def one_twice(slices: list[Dataset]) -> None:
    again = ct_slices(small_ct(), np.diag([0.8, 0.8, 2.0, 1.0]))
    set_each(SeriesInstanceUID=slices[0].SeriesInstanceUID)(again)
    slices.append(again[4])


def two_spacings(slices: list[Dataset]) -> None:
    for index, dataset in enumerate(slices[4:], start=1):
        x, y, _ = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, 6 + 4 * index]


def uncertain_frames(slices: list[Dataset]) -> None:
    slices[0].NumberOfFrames = 8
    slices[0].PixelData = b"".join(dataset.PixelData for dataset in slices)
    del slices[1:]


def truncate_voxels(slices: list[Dataset]) -> None:
    slices[2].PixelData = slices[2].PixelData[:-10]


def colour(slices: list[Dataset]) -> None:
    set_each(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)(slices)


BAD_SERIES: dict[str, tuple[Change, str]] = {
    "MR": (set_each(Modality="MR"), r"no CT volume here, only\n.*\(MR, 8 images\): modality MR"),
    "PET": (set_each(Modality="PT"), "modality PT, not CT"),
    "colour": (colour, "no CT volume here.*a colour image"),
    "secondary capture": (
        lambda slices: (
            delete("ImagePositionPatient")(slices),
            set_each(SOPClassUID=SecondaryCaptureImageStorage)(slices),
        ),
        "Secondary Capture Image Storage without a position",
    ),
    "localisers": (set_each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localiser"),
    "single slice": (lambda slices: slices.__delitem__(slice(1, None)), "a single slice"),
    "gap": (
        lambda slices: slices.__delitem__(slice(3, 5)),
        r"2 slices seem to be missing. Slices lie 2 mm apart, but 6 mm between z = 4.0 mm and "
        r"z = 10.0 mm \(IM\d+.dcm, IM\d+.dcm\)",
    ),
    "two spacings": (
        two_spacings,
        r"parts of different slice spacing: 2 mm from z = 0.0 mm to z = 6.0 mm, 4 mm from z = 6.0 "
        r"mm to z = 22.0 mm. Together they form no even grid, even if no slice is missing",
    ),
    "far apart": (
        set_one(ImagePositionPatient=[0, 0, 4000]),
        "4000 mm lie between .* more than a patient's length",
    ),
    "far away": (set_one(ImagePositionPatient=[0, 0, 1e30]), "ImagePositionPatient is .*1e.30"),
    "wide": (set_each(PixelSpacing=[300, 300]), "a slice 3600 mm wide"),
    "fine": (set_each(PixelSpacing=["1e-4", "1e-4"]), "PixelSpacing is .*1e-4"),
    "large": (set_each(Rows=65535), "65535 rows and 12 columns"),
    "infinite slope": (set_one(RescaleSlope="inf"), r"IM\d+.dcm .* \(RescaleSlope is inf"),
    "slope 0": (set_one(RescaleSlope="0"), r"IM\d+.dcm .* \(RescaleSlope is 0, so that HU are unk"),
    "no intercept": (set_one(RescaleIntercept="nan"), r"\(RescaleIntercept is nan"),
    "iodine": (
        set_each(RescaleType="MGML"),
        r"IM\d+.dcm states values in mg/ml \(RescaleType MGML\), not HU. Give the series of",
    ),
    "one of another unit": (set_one(RescaleType="Z_EFF"), "states values in effective atomic num"),
    "slope in some": (
        lambda slices: delete("RescaleSlope")(slices[:3]),
        r"3 of 8 slices state no RescaleSlope \(for example IM\d+.dcm\), the others do",
    ),
    "empty intercept in one": (
        set_one(RescaleIntercept=None),
        r"1 of 8 slices state no RescaleIntercept",
    ),
    "two patients": (
        set_one(PatientID="another"),
        r"IM\d+.dcm and IM\d+.dcm state different patients \(PatientID\)",
    ),
    "two names": (set_one(PatientName="Another^Test"), r"different patients \(PatientName\)"),
    "frames without places": (
        uncertain_frames,
        r"IM\d+.dcm states 8 frames and the places of 1. Export the series again as",
    ),
    "more voxels than stated": (
        set_each(BitsAllocated=8, BitsStored=8, HighBit=7),
        r"IM\d+.dcm is damaged \(240 bytes of voxels, but its header states 120\)",
    ),
    "tilt": (tilt, r"shifted against each other by 51.3 degrees, more than any gantry"),
    "uneven": (
        shift_one,
        r"not evenly spaced: IM\d+.dcm at z = 6.6 mm lies 0.5\d* mm off its place",
    ),
    "phases": (two_phases, "2 slices at each of 8 positions: a time series"),
    "duplicate": (one_twice, "same position, at 1 of 8 positions, first at z = 8.0 mm"),
    "size": (set_one(Rows=5), "differ in size: 7 of 10 x 12 voxels, 1 of 5 x 12 voxels"),
    "spacing": (set_one(PixelSpacing=[0.7, 0.8]), "voxel size: 7 of 0.8 x 0.8 mm, 1 of 0.8 x 0.7"),
    "orientation": (
        set_one(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        r"orientation: 7 of \(-?1, 0, 0, -?0, 1, 0\), 1 of \(1, 0, 0, 0, 0, -1\)",
    ),
    "no spacing": (delete("PixelSpacing"), "states no usable geometry or rescaling .PixelSpacing"),
    "no orientation": (delete("ImageOrientationPatient"), "ImageOrientationPatient is missing"),
    "zero spacing": (set_each(PixelSpacing=[0, 0]), "PixelSpacing is not positive"),
    "skewed axes": (
        set_each(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "does not hold two perpendicular directions",
    ),
    "truncated voxels": (truncate_voxels, r"the DICOM file IM\d+.dcm is damaged"),
    "no voxels": (delete("PixelData"), r"the DICOM file IM\d+.dcm is damaged .it holds no voxels"),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_a_series_that_is_no_volume_is_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    change, message = BAD_SERIES[case]
    slices = ct_slices(small_ct(), np.diag([0.8, 0.8, 2.0, 1.0]))
    change(slices)
    save_slices(tmp_path, slices)
    with pytest.raises(UserError, match=f"(?s)^{tmp_path}.*{message}"):
        read_series(tmp_path)


def test_spacing_rounded_in_the_headers_is_even(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [round(float(v), 1) for v in dataset.ImagePositionPatient]

    affine = np.diag([0.8, 0.8, 0.75, 1.0])
    save_slices(tmp_path, ct_slices(small_ct((6, 6, 40)), affine, edit=edit))
    volume, _ = read_series(tmp_path)
    np.testing.assert_array_equal(volume.array, small_ct((6, 6, 40)))
    np.testing.assert_allclose(volume.spacing_mm, (0.8, 0.8, 0.75), atol=2e-3)


def rounded_series(folder: Path, spacing_mm: float, stated: dict[str, float | None]) -> Path:
    """Twelve slices whose positions are whole mm, and what their headers state of the spacing."""

    def edit(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [round(float(v)) for v in dataset.ImagePositionPatient]
        del dataset.SliceThickness
        for keyword, value in stated.items():
            setattr(dataset, keyword, value)

    affine = np.diag([0.8, 0.8, spacing_mm, 1])
    return save_slices(folder, ct_slices(small_ct((6, 6, 12)), affine, edit=edit))


@pytest.mark.parametrize(
    ("spacing_mm", "keyword"),
    [(1.25, "SliceThickness"), (2.4, "SpacingBetweenSlices"), (3.3, "SliceThickness")],
)
def test_positions_rounded_to_whole_mm_are_mended_where_the_stated_spacing_fits(
    tmp_path: Path, spacing_mm: float, keyword: str
) -> None:
    stated = {"SliceThickness": 9.0, keyword: spacing_mm}
    volume, series = read_series(rounded_series(tmp_path / "scan", spacing_mm, stated))
    np.testing.assert_array_equal(volume.array, small_ct((6, 6, 12)))
    np.testing.assert_allclose(volume.spacing_mm, (0.8, 0.8, spacing_mm), atol=1e-9)
    assert abs(volume.affine[2, 3]) <= 0.5
    assert any("rounded to whole mm" in remark for remark in volume.remarks)
    assert all(frame.position_mm[2] == round(frame.position_mm[2]) for frame in series.frames)


@pytest.mark.parametrize(
    "stated",
    [{}, {"SliceThickness": None}, {"SliceThickness": 5.0}, {"SliceThickness": 2.3},
     {"SpacingBetweenSlices": 3.0, "SliceThickness": 2.5}],
)  # fmt: skip
def test_rounded_positions_without_a_stated_spacing_that_fits_are_refused(
    tmp_path: Path, stated: dict[str, float | None]
) -> None:
    with pytest.raises(UserError, match="if positions were rounded"):
        read_series(rounded_series(tmp_path / "scan", 2.5, stated))


@pytest.mark.parametrize("spacing_mm", [1.25, 2.4])
def test_a_missing_slice_is_found_among_rounded_positions(
    tmp_path: Path, spacing_mm: float
) -> None:
    for missing in (1, 6, 10):
        stated = {"SliceThickness": spacing_mm}
        folder = rounded_series(tmp_path / f"{missing}", spacing_mm, stated)
        paths = sorted(folder.iterdir(), key=lambda p: dcmread(p).ImagePositionPatient[2])
        paths[missing].unlink()
        with pytest.raises(UserError):
            read_series(folder)


def test_whole_positions_that_are_even_need_no_mending(tmp_path: Path) -> None:
    folder = rounded_series(tmp_path / "scan", 2.0, {"SliceThickness": 2.0})
    assert read_series(folder)[0].remarks == ()


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    save_slices(tmp_path, ct_slices(small_ct(), AFFINE))
    for length in (0, 100, 200, 400, 1200):
        whole = (tmp_path / "IM0005.dcm").read_bytes()
        (tmp_path / "IM0005.dcm").write_bytes(whole[:length])
        with pytest.raises(UserError, match=str(tmp_path)):
            read_series(tmp_path)
        (tmp_path / "IM0005.dcm").write_bytes(whole)


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    compress_with_itk(slices, "JPEG", tmp_path)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    save_slices(tmp_path, slices)
    with pytest.raises(UserError, match=r"High-Throughput JPEG 2000.*Store the series uncompr"):
        read_series(tmp_path)


def without_compliance(folder: Path, slices: list[Dataset]) -> Path:
    """Write slices whose SOPInstanceUIDs break the rules; the files' own UIDs do not."""
    folder.mkdir(exist_ok=True)
    for index, dataset in enumerate(slices):
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dcmwrite(folder / f"{index}.dcm", dataset, enforce_file_format=True)
    return folder


@pytest.mark.parametrize("uid", ["", "1.2.3.4"], ids=["empty", "repeated"])
def test_slices_of_one_sop_instance_uid_are_told_apart(tmp_path: Path, uid: str) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    set_each(SOPInstanceUID=uid)(slices)
    folder = without_compliance(tmp_path / "scan", slices)
    shutil.copy(folder / "2.dcm", folder / "copy.dcm")
    assert_reads_as(folder, small_ct())
    (remark,) = read_series(folder)[0].remarks
    assert "SOPInstanceUIDs are empty or repeated" in remark


def test_one_uid_for_different_voxels_at_one_place_is_refused(tmp_path: Path) -> None:
    save_slices(tmp_path / "a", ct_slices(small_ct(), AFFINE))
    other = dcmread(tmp_path / "a/IM0002.dcm")
    other.PixelData = other.PixelData[::-1]
    other.save_as(tmp_path / "other.dcm")
    with pytest.raises(UserError, match=r"same position, at 1 of 8 .*IM0002.dcm and other.dcm"):
        read_series(tmp_path)


@pytest.mark.parametrize("compressor", [None, "JPEG", "JPEG2000"])
def test_monochrome1_does_not_turn_hu_around(tmp_path: Path, compressor: str | None) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    if compressor:
        compress_with_itk(slices, compressor, tmp_path)
    set_each(PhotometricInterpretation="MONOCHROME1")(slices)
    assert_reads_as(save_slices(tmp_path, slices), small_ct())


def test_compressed_slices_have_their_own_rescaling(tmp_path: Path) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    compress_with_itk(slices, "JPEG", tmp_path)
    for index, dataset in enumerate(slices):
        dataset.RescaleIntercept = index
    assert_reads_as(save_slices(tmp_path, slices), small_ct() + np.arange(8, dtype=np.int16))


def test_slices_with_a_series_each_are_read_as_one(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(), index

    slices = ct_slices(small_ct(), AFFINE, edit=edit)
    save_slices(tmp_path, slices)
    assert_reads_as(tmp_path, small_ct())
    (remark,) = read_series(tmp_path)[0].remarks
    assert remark.startswith("Each file states a SeriesInstanceUID of its own")
    (tmp_path / "IM0003.dcm").unlink()
    with pytest.raises(UserError, match="7 files, each with a SeriesInstanceUID of its own: 1 sli"):
        read_series(tmp_path)
    for index, dataset in enumerate(slices):
        dataset.SeriesDescription = f"part {index // 4}"
    save_slices(tmp_path, slices)
    advice = r"only\n  8 CT series of a single slice each\. .* export it with one SeriesInstanceUID"
    with pytest.raises(UserError, match=advice):
        read_series(tmp_path)


@pytest.mark.parametrize("unit", ["HU", "US", "", "normalized", "HU_MOD"])
def test_hu_by_any_name_are_read_and_modified_ones_remarked_on(tmp_path: Path, unit: str) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.RescaleType = unit

    slices = ct_slices(small_ct(), AFFINE, edit=edit)
    for name, files in (("single", slices), ("multi", [enhanced(slices)])):
        if name == "multi":
            (common,) = files[0].SharedFunctionalGroupsSequence
            for group in (common, *files[0].PerFrameFunctionalGroupsSequence):
                for rescaling in group.get("PixelValueTransformationSequence", ()):
                    rescaling.RescaleType = unit
        volume, _ = read_series(save_slices(tmp_path / name, files))
        assert [one.split(" (")[0] for one in volume.remarks] == (
            ["The header states modified HU"] if unit == "HU_MOD" else []
        )


def test_a_slice_that_left_its_series_is_remarked_on(tmp_path: Path) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    slices[-1].SeriesInstanceUID = generate_uid()
    save_slices(tmp_path, slices, shuffled=False)
    volume, _ = read_series(tmp_path)
    assert volume.array.shape == (12, 10, 7)
    assert volume.remarks == (
        "IM0007.dcm would continue the scan, but states another SeriesInstanceUID.",
    )


def test_a_slice_stored_in_another_way_is_remarked_on(tmp_path: Path) -> None:
    slices = ct_slices(small_ct(), AFFINE)
    slices[3].RescaleIntercept = -1000
    save_slices(tmp_path, slices)
    (remark,) = read_series(tmp_path)[0].remarks
    assert "1 of 8 files state another RescaleIntercept (-1000) than the others (-1024)" in remark


def test_slopes_beyond_integers_do_not_overflow(tmp_path: Path) -> None:
    save_slices(tmp_path, ct_slices(small_ct(), AFFINE, edit=rescaled(1e6, -1024)))
    expected = np.where(small_ct() > -1024, 32767, -1024).astype(np.int16)
    assert_reads_as(tmp_path, expected)


def test_pipes_are_passed_over(tmp_path: Path) -> None:
    save_slices(tmp_path, ct_slices(small_ct(), AFFINE))
    os.mkfifo(tmp_path / "pipe.dcm")
    assert_reads_as(tmp_path, small_ct())


def test_deflated_series_are_read_within_limits(tmp_path: Path, monkeypatch) -> None:
    for index, dataset in enumerate(ct_slices(small_ct(), AFFINE)):
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset["PixelData"].VR = "OW"
        dcmwrite(tmp_path / f"{index}.dcm", dataset, enforce_file_format=True)
    assert_reads_as(tmp_path, small_ct())
    whole = (tmp_path / "3.dcm").read_bytes()
    (tmp_path / "3.dcm").write_bytes(whole[:-40])
    with pytest.raises(UserError, match=r"3.dcm is damaged .its deflated data set ends early"):
        read_series(tmp_path)
    (tmp_path / "3.dcm").write_bytes(whole)
    monkeypatch.setattr(zips, "DICOM", replace(zips.DICOM, member_bytes=1000))
    with pytest.raises(UserError, match="its deflated data set has more than 1000 bytes"):
        read_series(tmp_path)


def test_linked_slices_and_folders_are_read(tmp_path: Path) -> None:
    slices = sorted(save_slices(tmp_path / "stored", ct_slices(small_ct(), AFFINE)).iterdir())
    folder = tmp_path / "scan"
    (tmp_path / "more").mkdir()
    folder.mkdir()
    for number, file in enumerate(slices):
        ((folder if number % 2 else tmp_path / "more") / file.name).symlink_to(file)
    (folder / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more/back").symlink_to(folder)
    assert_reads_as(folder, small_ct())
