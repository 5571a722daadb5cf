"""The writer of NIfTI files."""

import gzip
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from orientations import oblique_affine

from vertseg.scans.nifti import load_ct, load_mask, save_mask, write_nifti
from vertseg.scans.volumes import Geometry

SHAPE = (12, 9, 7)


def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)


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
    assert (int(header["sform_code"]), int(header["qform_code"])) == (max(sform, 1), qform)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").affine, ct.native.affine)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii.gz", ct.native).array, mask)


def test_a_notice_stands_in_the_header(tmp_path: Path) -> None:
    notice = "n" * 79
    save_mask(tmp_path / "a.nii.gz", np.zeros(SHAPE), Geometry(SHAPE, np.eye(4)), notice)
    assert nib.load(tmp_path / "a.nii.gz").header["descrip"].item().decode() == notice
