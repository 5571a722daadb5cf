import functools
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conftest import REAL_DATA, ROOT, random_ct
from dicom_series import ct_slices, save_slices
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import ALL_ORIENTATIONS, oblique_affine, reoriented
from pydicom import Dataset

from vertseg.core.errors import UserError
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.scans import zips
from vertseg.scans.dicom import files
from vertseg.scans.find import scan_name, scan_names
from vertseg.scans.read import read_scan

AFFINE = oblique_affine()


def small_ct(shape: tuple[int, int, int] = (9, 20, 24)) -> np.ndarray:
    return random_ct(shape)


def itk_image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """An image in ITK's terms, made without the package."""
    image = sitk.GetImageFromArray(array.transpose())
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def save_itk(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    sitk.WriteImage(itk_image(array, affine), str(path), useCompression=True)
    return path


def as_nifti(folder: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(reoriented(array, affine, "PIR"), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def as_itk(suffix: str) -> Callable[[Path, np.ndarray, np.ndarray], Path]:
    def save(folder: Path, array: np.ndarray, affine: np.ndarray) -> Path:
        image = reoriented(array, affine, "LPS")
        return save_itk(folder / f"scan{suffix}", np.asarray(image.dataobj), image.affine)

    return save


def as_dicom(plane: str) -> Callable[[Path, np.ndarray, np.ndarray], Path]:
    def save(folder: Path, array: np.ndarray, affine: np.ndarray) -> Path:
        return save_slices(folder / "scan", ct_slices(array, affine, plane))

    return save


def as_zip(save: Callable[..., Path]) -> Callable[[Path, np.ndarray, np.ndarray], Path]:
    def save_zip(folder: Path, array: np.ndarray, affine: np.ndarray) -> Path:
        saved = save(folder, array, affine)
        files = sorted(saved.rglob("*")) if saved.is_dir() else [saved]
        with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/export/._x.nii.gz", b"junk")
            for file in files:
                archive.write(file, f"export/{file.relative_to(folder)}")
        return folder / "scan.zip"

    return save_zip


FORMATS = {
    "nifti": as_nifti,
    "nrrd": as_itk(".nrrd"),
    "nhdr": as_itk(".nhdr"),
    "mha": as_itk(".mha"),
    "mhd": as_itk(".mhd"),
    "axial DICOM": as_dicom("axial"),
    "sagittal DICOM": as_dicom("sagittal"),
    "coronal DICOM": as_dicom("coronal"),
    "zip of DICOM": as_zip(as_dicom("axial")),
    "zip of NIfTI": as_zip(as_nifti),
    "zip of NRRD": as_zip(as_itk(".nrrd")),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reads_as_the_same_volume(tmp_path: Path, form: str) -> None:
    phantom = generate_phantom(1, preset("demo"))
    ct = np.maximum(phantom.ct[:, ::2, ::2], -1024)
    affine = phantom.affine @ np.diag([1, 2, 2, 1])

    scan = read_scan(FORMATS[form](tmp_path, ct, affine))

    assert scan.name == "scan"
    assert scan.volume.array.dtype == np.int16
    np.testing.assert_array_equal(scan.volume.array, ct)
    np.testing.assert_allclose(scan.volume.affine, affine, atol=1e-4)
    assert (scan.series is not None) == ("DICOM" in form)


@settings(max_examples=12, deadline=None)
@given(code=st.sampled_from(ALL_ORIENTATIONS), degrees=st.floats(-40, 40))
def test_itk_files_agree_with_nifti_in_every_orientation(
    tmp_path_factory: pytest.TempPathFactory, code: str, degrees: float
) -> None:
    folder = tmp_path_factory.mktemp("scans")
    image = reoriented(small_ct((4, 5, 6)), oblique_affine(degrees), code)
    nib.save(image, folder / "scan.nii")
    save_itk(folder / "scan.mha", np.asarray(image.dataobj), image.affine)
    nifti, itk = read_scan(folder / "scan.nii").volume, read_scan(folder / "scan.mha").volume
    np.testing.assert_array_equal(itk.array, small_ct((4, 5, 6)))
    np.testing.assert_array_equal(itk.array, nifti.array)
    np.testing.assert_allclose(itk.affine, nifti.affine, atol=1e-4)
    assert itk.native.shape == nifti.native.shape
    np.testing.assert_allclose(itk.native.affine, nifti.native.affine, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_values_become_whole_hu(tmp_path: Path, dtype: type, suffix: str) -> None:
    values = small_ct().astype(np.float64)
    values[0, 0, :6] = [-3024, -1025, -1024, 3071, 31000, 60000]
    if np.issubdtype(dtype, np.floating):
        values[1, 1, :3] = [40.4, -99.6, 0.2]
    if dtype is np.int16:
        values[0, 0, 5] = 32767
    path = tmp_path / f"scan{suffix}"
    if suffix == ".nrrd":
        save_itk(path, values.astype(dtype))
    else:
        nib.save(nib.Nifti1Image(values.astype(dtype), AFFINE), path)

    array = read_scan(path).volume.array

    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, np.clip(np.rint(values), -1024, 32767))


def test_voxels_that_are_not_finite_are_air(tmp_path: Path) -> None:
    ct = small_ct().astype(np.float32)
    ct[0, 0, 0], ct[1, 1, 1] = np.nan, -np.inf
    array = read_scan(save_itk(tmp_path / "scan.mha", ct)).volume.array
    assert array[0, 0, 0] == array[1, 1, 1] == -1024


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/sub-verse506_dir-iso_ct.nii.gz", "sub-verse506_dir-iso"),
        ("a/STS_028_CT.nii.gz", "STS_028"),
        ("a/scan.v2.nii", "scan.v2"),
        ("a/Müller, Jörg.NRRD", "M-ller-J-rg"),
        ("a/_ct.nii.gz", "scan"),
        ("a/export-ct.zip", "export"),
        ("patient/IM0001.dcm", "patient_IM0001"),
        ("a/-rf.mha", "rf"),
    ],
)
def test_scans_are_named_after_their_files(path: str, name: str) -> None:
    assert scan_name(path) == name


def test_a_dicom_folder_gives_its_name(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "CT 1.5mm/DICOM").mkdir(parents=True)
    assert scan_name(tmp_path / "CT 1.5mm") == "CT-1.5mm"
    monkeypatch.chdir(tmp_path / "CT 1.5mm/DICOM")
    assert [scan_name("."), scan_name("..")] == ["DICOM", "CT-1.5mm"]


def test_scans_of_equal_names_are_told_apart() -> None:
    paths = ["p1/CT/a_ct.nii", "p2/CT/a.nii.gz", "p2/CT/b.nii", "P3/ct/A.mha"]
    assert scan_names(paths) == ["p1_CT_a", "p2_CT_a", "b", "P3_ct_A"]
    assert scan_names(["x/a.nii", "x/b.nii"]) == ["a", "b"]


@pytest.mark.parametrize("paths", [["x/a.nii", "x/a.nii"], ["x/a.nii", "x/a_ct.nii.gz"]])
def test_scans_that_cannot_be_told_apart_are_refused(paths: list[str]) -> None:
    with pytest.raises(UserError, match="same names"):
        scan_names(paths)


@given(st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name))
def test_names_are_safe_and_never_hidden(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", scan_name(f"/data/{name}.nii.gz"))


def nifti_bytes(array: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(array, affine).to_bytes()


def noisy_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("scan.nii", nifti_bytes(small_ct()))
    content = bytearray(buffer.getvalue())
    content[1000] ^= 0xFF
    return bytes(content)


def zip_bytes(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def encrypted(content: bytes) -> bytes:
    """The archive with the flag that says its only member is encrypted, in both its headers."""
    changed = bytearray(content)
    changed[changed.index(b"PK\x03\x04") + 6] |= 1
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


SHEARED = np.array([[1, 0, 0.2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
RGB = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])

BAD_FILES = {
    "text.txt": (b"hello", "not a scan in a format that can be read.*NIfTI.*NRRD.*DICOM"),
    "empty.nii": (b"", "cannot be read"),
    "noise.nrrd": (b"hello" * 99, "cannot be read"),
    "noise.dcm": (b"hello" * 99, "not a scan in a format"),
    "flat.nii": (nifti_bytes(small_ct()[:, :, 0]), r"shape \(9, 20\) is not one 3-D volume"),
    "thin.nii": (nifti_bytes(small_ct()[:, :, :1]), r"shape \(9, 20, 1\) is not one 3-D volume"),
    "series.nii": (
        nifti_bytes(np.stack([small_ct()] * 3, -1)),
        r"shape \(9, 20, 24, 3\) is not one 3-D volume",
    ),
    "colour.nii": (nifti_bytes(RGB), "colour"),
    "tilted.nii": (nifti_bytes(small_ct(), SHEARED), "11.3 degrees off perpendicular.*tilt"),
    "constant.nii": (nifti_bytes(np.full((4, 4, 4), 7, np.int16)), "all voxels have the value 7"),
    "mask.nii": (nifti_bytes((small_ct() > 900).astype(np.uint8)), "not a CT.*from 0 to 1"),
    "mr.nii": (nifti_bytes(small_ct() - small_ct().min()), "not a CT in Hounsfield units.*MR"),
    "scaled.nii": (
        nifti_bytes((small_ct() / 1500).astype(np.float32)),
        "not a CT in Hounsfield units: values from -0.6",
    ),
    "cut.zip": (zip_bytes(scan__nii=nifti_bytes(small_ct()))[:-40], "not a complete zip archive"),
    "damaged.zip": (noisy_bytes(), "scan.nii is damaged"),
    "two.zip": (zip_bytes(a__nii=b"x", b__nii=b"y"), "2 images .a.nii, b.nii..*Unpack"),
    "both.zip": (zip_bytes(a__nii=b"x", b__dcm=b"y"), "1 images .a.nii. and DICOM files.*Unpack"),
    "none.zip": (zip_bytes(a__txt=b"x", b__pdf=b"y"), "no DICOM image among its 2 files"),
    "locked.zip": (encrypted(zip_bytes(a__nii=b"x" * 500)), "archive is encrypted. Unpack"),
    "locked_dicom.zip": (encrypted(zip_bytes(a__dcm=b"x" * 500)), "archive is encrypted. Unpack"),
    "inner.zip": (zip_bytes(a__nii=b"x" * 500), r"a.nii: cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_ct_is_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)^{tmp_path / name}.*{message}"):
        read_scan(tmp_path / name)


def test_an_archive_writes_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("../../outside.nii", nifti_bytes(small_ct()))
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.zip").volume.array, small_ct())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["scan.zip"]
    assert not list(tmp_path.parent.glob("outside*"))


def test_a_damaged_archive_of_dicom_is_named(tmp_path: Path) -> None:
    path = as_zip(as_dicom("axial"))(tmp_path, small_ct(), AFFINE)
    whole = path.read_bytes()
    for place in range(len(whole) // 5, len(whole) - 64, len(whole) // 5):
        path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        with pytest.raises(UserError, match=str(path)):
            read_scan(path)


def test_archives_and_folders_are_bounded(tmp_path: Path, monkeypatch) -> None:
    path = as_zip(as_dicom("axial"))(tmp_path, small_ct(), AFFINE)
    monkeypatch.setattr(files, "MOST_FILES", 20)
    monkeypatch.setattr(zips, "DICOM", replace(zips.DICOM, members=20))
    with pytest.raises(UserError, match=r"holds 25 files.*too much for one scan"):
        read_scan(path)
    with pytest.raises(UserError, match="more than 20 files"):
        read_scan(tmp_path / "scan")
    monkeypatch.setattr(zips, "DICOM", replace(zips.DICOM, member_bytes=500))
    with pytest.raises(UserError, match=r"the largest of \d+ bytes"):
        read_scan(path)


def test_dicom_whose_values_are_no_hu_is_refused(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept

    save_slices(tmp_path / "scan", ct_slices(small_ct(), AFFINE, edit=edit))
    with pytest.raises(UserError, match="not a CT in Hounsfield units: values from 0 to 2"):
        read_scan(tmp_path / "scan")


def test_of_pet_and_ct_the_ct_is_read(tmp_path: Path) -> None:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.Modality = "PT"

    save_slices(tmp_path / "scan/pet", ct_slices(small_ct() // 2, AFFINE, edit=edit))
    save_slices(tmp_path / "scan/ct", ct_slices(small_ct(), AFFINE))
    np.testing.assert_array_equal(read_scan(tmp_path / "scan").volume.array, small_ct())


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_truncated_itk_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save_itk(tmp_path / f"scan{suffix}", small_ct())
    voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[:-800])
    with pytest.raises(UserError, match=rf"{path}: cannot be read .*truncated"):
        read_scan(path)
    voxels.unlink()
    with pytest.raises(UserError, match=str(path)):
        read_scan(path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (sitk.Image([8, 8], sitk.sitkInt16), r"shape \(8, 8\) is not one 3-D volume"),
        (sitk.Image([8, 8, 8, 2], sitk.sitkInt16), r"shape \(8, 8, 8, 2\) is not one 3-D volume"),
        (sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), "3 numbers a voxel.*colour"),
    ],
    ids=["2-D", "time series", "RGB"],
)
def test_itk_images_that_are_no_volume_are_refused(
    tmp_path: Path, image: sitk.Image, message: str
) -> None:
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    with pytest.raises(UserError, match=message):
        read_scan(tmp_path / "scan.nrrd")


def test_a_singular_direction_is_refused(tmp_path: Path) -> None:
    path = save_itk(tmp_path / "scan.mha", small_ct(), np.diag([1.0, 1, 1, 1]))
    matrix = b"TransformMatrix = -1 0 0 0 -1 0"
    assert matrix in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(matrix, b"TransformMatrix = -1 0 0 -1 0 0"))
    with pytest.raises(UserError, match="affine is singular"):
        read_scan(path)


def test_a_header_without_orientation_is_warned_of(tmp_path: Path, caplog) -> None:
    path = save_itk(tmp_path / "scan.nrrd", small_ct(), np.diag([1.0, 1, 1, 1]))
    lines = path.read_bytes().split(b"\n", 20)
    kept = [line for line in lines if not line.startswith(b"space")]
    path.write_bytes(b"\n".join(kept))
    with caplog.at_level("WARNING", logger="vertseg"):
        read_scan(path)
    assert "states no space" in caplog.text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.nii\.gz: no such file"):
        read_scan(tmp_path / "absent.nii.gz")


def test_a_real_mr_is_refused() -> None:
    path = Path(nib.__file__).parent / "tests/data/anatomical.nii"
    if not path.is_file():
        pytest.skip("nibabel was installed without its test images")
    with pytest.raises(UserError, match=r"not a CT in Hounsfield units: values from -\d+ to \d+"):
        read_scan(path)


@functools.cache
def demo_phantom(seed: int) -> Phantom:
    return generate_phantom(seed, preset("demo"))


@pytest.mark.parametrize("window", [(-1024, 3071), (-200, 300), (-100, 1000), (-450, 1050)])
@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_windowed_and_cropped_cts_pass_as_cts(
    tmp_path: Path, seed: int, window: tuple[int, int]
) -> None:
    phantom = demo_phantom(seed)
    bone = np.argwhere(phantom.mask)
    (x0, y0, z0), (x1, y1, z1) = bone.min(0), bone.max(0) + 1
    ct = np.clip(phantom.ct, *window)[x0:x1, y0:y1, z0:z1]
    nib.save(nib.Nifti1Image(ct, phantom.affine), tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.nii.gz").volume.array, ct)


def test_nifti_is_read_without_other_formats_libraries(tmp_path: Path) -> None:
    path = as_nifti(tmp_path, small_ct(), AFFINE)
    code = (
        "import sys; from vertseg.scans.read import read_scan; "
        f"read_scan({str(path)!r}); "
        "heavy = {'torch', 'SimpleITK', 'highdicom', 'vertseg.scans.dicom.series'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "scan",
    [
        "verse014/sub-verse014_ct.nii.gz",
        "no_spine/STS_028_CT.nii.gz",
        "dicom_crlm_ct_1004",
        "dicom_crlm_ct_1004/1-07.dcm",
    ],
)
def test_real_scans_are_read(scan: str) -> None:
    if not (REAL_DATA / scan).exists():
        pytest.skip(f"no real scan at {REAL_DATA / scan}")
    volume = read_scan(REAL_DATA / scan).volume
    assert volume.array.dtype == np.int16
    assert volume.array.min() >= -1024
    assert 700 < volume.array.max() < 3100
