"""The writer of NIfTI files."""

import gzip
import itertools
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conftest import random_ct
from orientations import ALL_ORIENTATIONS, oblique_affine, reoriented

from vertseg.core.errors import UserError
from vertseg.scans.nifti import load_ct, load_mask, save_mask, write_nifti
from vertseg.scans.read import read_scan
from vertseg.scans.volumes import Geometry

SHAPE = (12, 9, 7)


def voxels() -> np.ndarray:
    return random_ct(SHAPE)


@pytest.mark.parametrize("noisy", [False, True])
def test_the_same_voxels_give_the_same_bytes(tmp_path: Path, monkeypatch, noisy: bool) -> None:
    geometry = Geometry(SHAPE, oblique_affine())
    write_nifti(tmp_path / "one.nii.gz", voxels(), geometry, noisy=noisy)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_nifti(tmp_path / "other.nii.gz", np.asfortranarray(voxels()), geometry, noisy=noisy)
    one, other = tmp_path / "one.nii.gz", tmp_path / "other.nii.gz"
    assert one.read_bytes() == other.read_bytes()
    # No time and no name in gzip's header (RFC 1952).
    assert one.read_bytes()[3:8] == bytes(5)


@pytest.mark.parametrize(
    "options", [{}, {"level": 6}, {"level": 9}, {"noisy": True}, {"noisy": True, "level": 9}]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_voxels_and_grid_come_back(tmp_path: Path, options: dict, dtype: type) -> None:
    array = voxels().clip(0, 255).astype(dtype)
    write_nifti(tmp_path / "a.nii.gz", array, Geometry(SHAPE, oblique_affine()), **options)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == dtype
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(image.dataobj, array)
    np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("noisy", [False, True])
def test_content_does_not_depend_on_the_compression(tmp_path: Path, noisy: bool) -> None:
    contents = set()
    for level in (1, 6, 9):
        path = tmp_path / "a.nii.gz"
        write_nifti(path, voxels(), Geometry(SHAPE, np.eye(4)), level=level, noisy=noisy)
        contents.add(gzip.decompress(path.read_bytes()))
    assert contents == {nib.load(path).to_bytes()}


def test_levels_are_smaller_and_noisy_codes_runs(tmp_path: Path) -> None:
    array = np.zeros((40, 40, 40), np.int16)
    array[::3] = np.arange(40)
    sizes = {}
    for name, options in {"fast": {}, "small": {"level": 9}, "runs": {"noisy": True}}.items():
        path = tmp_path / f"{name}.nii.gz"
        write_nifti(path, array, Geometry(array.shape, np.eye(4)), **options)
        sizes[name] = path.stat().st_size
    assert sizes["small"] < sizes["fast"] < sizes["runs"] < array.nbytes


@pytest.mark.parametrize(
    ("sform", "qform"), [(1, 1), (1, 0), (2, 1), (4, 3), (0, 1), (0, 2), (0, 0)]
)
def test_codes_of_the_header_are_kept(tmp_path: Path, sform: int, qform: int) -> None:
    source = nib.Nifti1Image(voxels(), oblique_affine())
    source.set_sform(oblique_affine(), sform)
    source.set_qform(oblique_affine(), qform)
    nib.save(source, tmp_path / "ct.nii.gz")
    ct = load_ct(tmp_path / "ct.nii.gz")
    mask = np.zeros(ct.array.shape, np.uint8)
    mask[3:5, 3:5, 3:5] = 20
    save_mask(tmp_path / "mask.nii.gz", mask, ct.native)
    header = nib.load(tmp_path / "mask.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (sform, qform)
    affine = nib.load(tmp_path / "mask.nii.gz").affine
    np.testing.assert_allclose(affine, ct.native.affine, atol=1e-4)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii.gz", ct.native).array, mask)


PLACES = ("pixdim", "sform_code", "qform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d")
ROWS = ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


def moved_affine() -> np.ndarray:
    """A registered copy's: turned by 10 degrees, moved by 66 mm."""
    moved = np.eye(4)
    angle = np.deg2rad(10)
    moved[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    moved[:3, 3] = (5, 30, -60)
    return moved @ oblique_affine()


def save_ct(path: Path, sform: int, qform: int, units: int = 2, **fields: object) -> Path:
    """A CT whose sform is that of a registered copy."""
    image = nib.Nifti1Image(voxels(), oblique_affine())
    image.set_qform(oblique_affine(), qform)
    image.set_sform(moved_affine(), sform)
    header = image.header.copy()
    header["xyzt_units"] = units
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + bytes(4) + voxels().tobytes(order="F"))
    return path


@pytest.mark.parametrize("units", [0, 2, 10])
@pytest.mark.parametrize(("sform", "qform"), [(2, 1), (1, 1), (1, 0), (0, 1), (0, 0), (4, 2)])
def test_a_mask_carries_the_transforms_codes_and_units_of_its_ct(
    tmp_path: Path, sform: int, qform: int, units: int
) -> None:
    ct = load_ct(save_ct(tmp_path / "ct.nii", sform, qform, units))
    save_mask(tmp_path / "mask.nii.gz", np.zeros(ct.array.shape), ct.native)
    ours, its = nib.load(tmp_path / "mask.nii.gz").header, nib.load(tmp_path / "ct.nii").header
    assert (int(ours["sform_code"]), int(ours["qform_code"])) == (sform, qform)
    assert int(ours["xyzt_units"]) == units
    for name in (*PLACES, *ROWS):
        if name == "pixdim":
            np.testing.assert_allclose(ours[name][:4], its[name][:4], rtol=1e-6)
        else:
            np.testing.assert_allclose(ours[name], its[name], rtol=1e-6)
    counts = moved_affine() if sform else oblique_affine()
    if sform or qform:
        np.testing.assert_allclose(ct.native.affine, counts, atol=1e-4)
    one, other = (sitk.ReadImage(str(tmp_path / name)) for name in ("ct.nii", "mask.nii.gz"))
    np.testing.assert_allclose(other.GetOrigin(), one.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(other.GetDirection(), one.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(other.GetSpacing(), one.GetSpacing(), rtol=1e-5)
    again = load_ct(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(again.native.affine, ct.native.affine, atol=1e-4)
    assert again.remarks == ct.remarks


@pytest.mark.parametrize("code", ALL_ORIENTATIONS[::5])
def test_a_ct_whose_transforms_agree_gives_the_bytes_that_its_affine_does(
    tmp_path: Path, code: str
) -> None:
    image = reoriented(voxels(), oblique_affine(), code)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "ct.nii.gz")
    native = load_ct(tmp_path / "ct.nii.gz").native
    assert native.sform is native.qform is None
    save_mask(tmp_path / "mask.nii.gz", np.zeros(native.canonical_shape), native)
    expected = nib.Nifti1Image(np.zeros(native.shape, np.uint8), native.affine)
    expected.header.set_xyzt_units("mm")
    expected.set_sform(native.affine, 1)
    expected.set_qform(native.affine, 1)
    content = gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())
    assert content == expected.to_bytes()


def test_a_difference_of_the_transforms_is_a_remark_with_both_codes(tmp_path: Path) -> None:
    path = save_ct(tmp_path / "ct.nii", 2, 1)
    (remark,) = load_ct(path).remarks
    ends = np.array([[0, 0, 0], np.array(SHAPE) - 1])
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends.T)]).T
    shift = np.abs((moved_affine() - oblique_affine()) @ corners).max()
    told = f"sform (code 2) and qform (code 1) differ, by up to {shift:.1f} mm; the sform was used"
    assert told in remark
    path = save_ct(tmp_path / "ct.nii", 2, 1, quatern_b=3, quatern_c=3)
    assert "the qform being invalid; the sform was used" in load_ct(path).remarks[0]
    assert load_ct(save_ct(tmp_path / "ct.nii", 2, 0)).remarks == ()


@pytest.mark.parametrize(("sform", "qform", "is_told"), [(0, 1, True), (0, 0, True), (1, 0, False)])
def test_a_voxel_size_of_zero_is_a_remark_where_it_counts(
    tmp_path: Path, sform: int, qform: int, is_told: bool
) -> None:
    path = save_ct(tmp_path / "ct.nii", sform, qform, pixdim=[1, 0.8, 0, 2.5, 1, 1, 1, 1])
    volume = read_scan(path).volume
    assert any("voxel size of 0" in remark for remark in volume.remarks) == is_told
    if is_told:
        np.testing.assert_allclose(volume.spacing_mm, (0.8, 1, 2.5), rtol=1e-5)


@pytest.mark.parametrize(("unit", "name"), [(1, "metres"), (3, "micrometres")])
def test_lengths_in_other_units_are_refused(tmp_path: Path, unit: int, name: str) -> None:
    with pytest.raises(UserError, match=f"ct.nii: .*lengths in {name}. Give a file in mm"):
        load_ct(save_ct(tmp_path / "ct.nii", 1, 1, unit))


def save_mask_of(path: Path, affine: np.ndarray, qform: np.ndarray | None = None) -> Path:
    image = nib.Nifti1Image(np.full(SHAPE, 20, np.uint8), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if qform is None else qform, 1)
    nib.save(image, path)
    return path


def test_a_mask_on_its_ct_by_one_transform_alone_is_refused(tmp_path: Path) -> None:
    ct = load_ct(save_ct(tmp_path / "ct.nii", 2, 1)).native
    both = save_mask_of(tmp_path / "both.nii.gz", moved_affine(), oblique_affine())
    assert load_mask(both, ct).array.all()
    for name, affine in {"by_sform": moved_affine(), "by_qform": oblique_affine()}.items():
        path = save_mask_of(tmp_path / f"{name}.nii.gz", affine)
        with pytest.raises(UserError, match=rf"(?s){name}.*contradict.*CT by sform: \[\[.*mask by"):
            load_mask(path, ct)


def test_labelled_scans_whose_transforms_mirror_or_resize_are_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), oblique_affine())
    for turn in (np.diag([-1.0, -1, 1, 1]), np.diag([1.1, 1.1, 1.1, 1])):
        image.set_sform(oblique_affine() @ turn, 1)
        image.set_qform(oblique_affine(), 1)
        nib.save(image, tmp_path / "ct.nii.gz")
        ct = load_ct(tmp_path / "ct.nii.gz").native
        path = save_mask_of(tmp_path / "mask.nii.gz", oblique_affine() @ turn, oblique_affine())
        with pytest.raises(UserError, match="disagree about orientation or voxel size"):
            load_mask(path, ct)


def test_the_sacrum_is_background_unless_it_is_asked_for(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1], labels[2] = 24, 26
    geometry = Geometry(labels.shape, np.eye(4))
    path = tmp_path / "mask.nii.gz"
    write_nifti(path, labels, geometry)
    np.testing.assert_array_equal(load_mask(path, geometry, sacrum=True).array, labels)
    np.testing.assert_array_equal(
        load_mask(path, geometry).array, np.where(labels == 26, 0, labels)
    )


def test_a_notice_stands_in_the_header(tmp_path: Path) -> None:
    notice = "n" * 79
    save_mask(tmp_path / "a.nii.gz", np.zeros(SHAPE), Geometry(SHAPE, np.eye(4)), notice)
    assert nib.load(tmp_path / "a.nii.gz").header["descrip"].item().decode() == notice


@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_a_mask_is_read_within_few_copies_of_its_voxels(tmp_path: Path, codes: str) -> None:
    """Whatever their order: a table looked up at every voxel would take eight bytes for each."""
    labels = np.zeros((160, 160, 160), np.uint8)
    labels[70:90, 70:90, 40:120] = 20
    whole = nib.Nifti1Image(labels, np.eye(4))
    to_codes = nib.orientations.ornt_transform(
        nib.io_orientation(whole.affine), nib.orientations.axcodes2ornt(codes)
    )
    image = whole.as_reoriented(to_codes)
    nib.save(image, tmp_path / "mask.nii.gz")
    ct = Geometry(image.shape, image.affine)
    tracemalloc.start()
    mask = load_mask(tmp_path / "mask.nii.gz", ct)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(mask.array, labels)
    assert peak < 5 * labels.size
