import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import ALL_ORIENTATIONS, oblique_affine, reoriented

from vertseg.core.errors import UserError
from vertseg.scans import nifti
from vertseg.scans.nifti import load_ct, load_mask, save_mask
from vertseg.scans.volumes import AIR_HU, Geometry


@pytest.mark.parametrize("code", ALL_ORIENTATIONS)
def test_every_orientation_reads_as_the_same_canonical_volume(tmp_path: Path, code: str) -> None:
    ct = np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
    affine = oblique_affine()
    path = tmp_path / f"{code}.nii.gz"
    nib.save(reoriented(ct, affine, code), path)

    volume = load_ct(path)

    assert nib.aff2axcodes(nib.load(path).affine) == tuple(code)
    np.testing.assert_array_equal(volume.array, ct)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    assert volume.native.canonical_shape == ct.shape
    np.testing.assert_allclose(volume.spacing_mm, (0.8, 1.1, 2.5), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(code=st.sampled_from(ALL_ORIENTATIONS), degrees=st.floats(-40, 40))
def test_a_saved_mask_has_the_grid_of_its_ct(
    tmp_path_factory: pytest.TempPathFactory, code: str, degrees: float
) -> None:
    folder = tmp_path_factory.mktemp("masks")
    stored = reoriented(np.zeros((4, 6, 9), np.int16), oblique_affine(degrees), code)
    nib.save(stored, folder / "ct.nii.gz")
    ct = load_ct(folder / "ct.nii.gz")
    mask = np.random.default_rng(1).integers(0, 26, ct.array.shape).astype(np.uint8)

    save_mask(folder / "mask.nii.gz", mask, ct.native)

    saved = nib.load(folder / "mask.nii.gz")
    assert saved.shape == stored.shape
    assert saved.get_data_dtype() == np.uint8
    np.testing.assert_allclose(saved.affine, nib.load(folder / "ct.nii.gz").affine, atol=1e-4)
    np.testing.assert_array_equal(load_mask(folder / "mask.nii.gz", ct.native).array, mask)


def test_world_positions_agree_with_itk(tmp_path: Path) -> None:
    ct = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nib.save(reoriented(ct, oblique_affine(), "PIR"), tmp_path / "ct.nii.gz")
    volume = load_ct(tmp_path / "ct.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    for voxel in [(0, 0, 0), (3, 1, 5), (2, 4, 0)]:
        lps = (volume.affine @ [*voxel, 1])[:3] * (-1, -1, 1)
        index = image.TransformPhysicalPointToIndex(lps.tolist())
        assert image.GetPixel(index) == volume.array[voxel]


def test_scl_slope_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((3, 3, 3), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "ct.nii.gz")
    raw = nib.load(tmp_path / "ct.nii.gz")
    stored = raw.dataobj.get_unscaled()
    assert float(raw.dataobj.slope) == 2
    np.testing.assert_allclose(load_ct(tmp_path / "ct.nii.gz").array, stored * 2.0 - 1024)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.int16, 1, 0, np.int16),
        (np.uint8, 1, 0, np.uint8),
        (np.uint16, 1, -1024, np.int16),
        (np.uint16, 40, -1024, np.float32),
        (np.int16, 0.5, -1000.25, np.float32),
        (np.float64, 1, 0, np.float32),
        (np.float32, 2, 3, np.float32),
        (">i2", 1, 0, np.int16),
    ],
)
def test_scaled_voxels_are_nibabels_without_float64(
    tmp_path: Path, monkeypatch, dtype, slope: float, intercept: float, expected: type
) -> None:
    monkeypatch.setattr(nifti, "_SLAB_VOXELS", 40)
    stored = np.random.default_rng(0).integers(0, 200, (4, 5, 7)).astype(dtype)
    stored[0, 0, 5] = 1000 if np.dtype(dtype).itemsize > 1 else 200
    image = nib.Nifti1Image(stored, np.eye(4), dtype=np.dtype(dtype))
    image.header.set_slope_inter(slope, intercept)
    # Nibabel divides by the slope when it saves; stored values are written as they are instead.
    path = tmp_path / "ct.nii"
    header = image.header.copy()
    header.set_data_offset(352)
    path.write_bytes(header.binaryblock + b"\0" * 4 + stored.tobytes(order="F"))
    array = load_ct(path).array
    assert array.dtype == expected
    np.testing.assert_allclose(array, nib.load(path).get_fdata(), rtol=1e-6)
    assert (nib.load(path).dataobj.slope, nib.load(path).dataobj.inter) == (slope, intercept)


def test_reading_holds_a_scan_little_more_than_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(nifti, "_SLAB_VOXELS", 1 << 18)
    stored = np.random.default_rng(0).integers(-1000, 2000, (256, 256, 160)).astype(np.int16)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "ct.nii.gz")
    load_ct(tmp_path / "ct.nii.gz")
    tracemalloc.start()
    try:
        load_ct(tmp_path / "ct.nii.gz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * stored.nbytes


def test_one_volume_in_four_dimensions_is_accepted_but_a_series_is_not(save_nifti) -> None:
    assert load_ct(save_nifti("one.nii", np.zeros((3, 4, 5, 1), np.int16))).array.shape == (3, 4, 5)
    with pytest.raises(UserError, match=r"series\.nii: shape \(3, 4, 5, 2\)"):
        load_ct(save_nifti("series.nii", np.zeros((3, 4, 5, 2), np.int16)))


def test_voxels_that_are_not_finite_read_as_air(save_nifti) -> None:
    ct = np.zeros((3, 3, 3), np.float32)
    ct[0, 0, 0], ct[1, 1, 1] = np.nan, np.inf
    array = load_ct(save_nifti("ct.nii", ct)).array
    assert array[0, 0, 0] == array[1, 1, 1] == AIR_HU
    assert array[2, 2, 2] == 0


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("flat.nii", np.zeros((5, 5, 1), np.int16), "not one 3-D volume"),
        ("slice.nii", np.zeros((5, 5), np.int16), "not one 3-D volume"),
        ("empty.nii", np.full((3, 3, 3), np.nan, np.float32), "no voxel holds a finite number"),
        ("complex.nii", np.zeros((3, 3, 3), np.complex64), "complex"),
        ("rgb.nii", np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
    ],
)
def test_what_is_no_ct_is_named(save_nifti, name: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        load_ct(save_nifti(name, array))


def test_broken_files_are_named(tmp_path: Path, save_nifti) -> None:
    whole = save_nifti("whole.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    truncated = tmp_path / "truncated.nii.gz"
    truncated.write_bytes(whole.read_bytes()[:-500])
    corrupt = tmp_path / "corrupt.nii.gz"
    corrupt.write_bytes(gzip.compress(b"no image at all"))
    text = tmp_path / "text.nii.gz"
    text.write_text("<html>404</html>")
    for path in (truncated, corrupt, text, tmp_path / "missing.nii.gz", tmp_path):
        with pytest.raises(UserError, match=path.name):
            load_ct(path)


def test_a_singular_affine_is_refused(save_nifti) -> None:
    image_path = save_nifti("ct.nii", np.zeros((3, 3, 3), np.int16))
    image = nib.load(image_path)
    image.header["sform_code"], image.header["srow_z"] = 1, 0
    nib.Nifti1Image(image.get_fdata(), None, image.header).to_filename(image_path)
    with pytest.raises(UserError, match="affine"):
        load_ct(image_path)


def test_float_masks_are_read_and_other_numbers_refused(save_nifti) -> None:
    mask = np.zeros((3, 3, 3))
    mask[1, 1, 1] = 28
    path = save_nifti("mask.nii.gz", mask)
    ct = Geometry(mask.shape, np.eye(4))
    assert load_mask(path, ct).array[1, 1, 1] == 28
    assert load_mask(path, ct).array.dtype == np.uint8
    for value, message in [(2.5, "whole"), (np.nan, "whole"), (27, r"27 \(coccyx\)"), (-1, "-1")]:
        mask[1, 1, 1] = value
        with pytest.raises(UserError, match=f"mask.nii.gz.*{message}"):
            load_mask(save_nifti("mask.nii.gz", mask), ct)


def test_a_mask_on_another_grid_is_put_onto_its_ct(save_nifti, caplog) -> None:
    fine = np.zeros((20, 20, 20), np.uint8)
    fine[4:12, 6:14, 8:16] = 20
    path = save_nifti("mask.nii.gz", fine)
    ct_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    ct_affine[:3, 3] = 0.5
    with caplog.at_level("WARNING", logger="vertseg"):
        mask = load_mask(path, Geometry((10, 10, 10), ct_affine))
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[2:6, 3:7, 4:8] = 20
    np.testing.assert_array_equal(mask.array, expected)
    assert "mask.nii.gz" in caplog.text and "resampled onto the CT" in caplog.text


def test_a_mask_elsewhere_is_refused(save_nifti) -> None:
    mask = np.full((5, 5, 5), 20, np.uint8)
    far = np.eye(4)
    far[:3, 3] = 1000
    with pytest.raises(UserError, match="outside its CT"):
        load_mask(save_nifti("mask.nii.gz", mask, far), Geometry((5, 5, 6), np.eye(4)))
    with pytest.raises(UserError, match=r"The mask's is \[1 0 0 1000;.*the CT's \[1 0 0 0;"):
        load_mask(save_nifti("mask.nii.gz", mask, far), Geometry((5, 5, 5), np.eye(4)))
