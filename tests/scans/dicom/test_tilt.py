"""Series of a tilted gantry, against the same phantom without a tilt."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_series import ct_slices, save_slices, tilt_gantry
from pydicom.uid import generate_uid
from scipy import ndimage

from vertseg.phantom import generate_phantom, preset
from vertseg.scans.dicom.series import read_series
from vertseg.scans.volumes import AIR_HU, Geometry, canonical_volume

MARGIN = 24
"""Rows of air in front of and behind the phantom, more than the slices are shifted by."""
SLICES = 20


@pytest.fixture(scope="module")
def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth HU (x, y, z), label map and affine of a part of a phantom, with air around it."""
    whole = generate_phantom(4, preset("demo"))
    low = whole.ct.shape[2] // 2
    part = np.s_[..., low : low + 2 * SLICES : 2]
    room = [(8, 8), (MARGIN, MARGIN), (0, 0)]
    ct = np.pad(whole.ct[part], room, constant_values=AIR_HU).astype(np.float64)
    mask = np.pad(whole.mask[part], room)
    affine = whole.affine @ np.diag([1.0, 1, 2, 1])
    affine[:3, 3] = (whole.affine @ [-8, -MARGIN, low, 1])[:3]
    assert len(np.unique(mask)) > 2
    return np.rint(ndimage.gaussian_filter(ct, (1.5, 1.5, 0))), mask, affine


def sheared(mask: np.ndarray, rows_per_slice: int) -> np.ndarray:
    """A label map (x, y, z) on the tilted slices; rows lead backwards, towards smaller y."""
    slices = [np.roll(mask[..., z], z * rows_per_slice, axis=1) for z in range(mask.shape[2])]
    return np.stack(slices, axis=-1)


@pytest.mark.parametrize("rows_per_slice", [1, 0.37, -0.61])
@pytest.mark.parametrize("digits", [6, 1])
def test_a_tilted_series_is_read_as_the_untilted_one(
    tmp_path: Path, phantom, rows_per_slice: float, digits: int
) -> None:
    ct, _, affine = phantom
    slices = ct_slices(ct, affine)
    tilt_gantry(slices, rows_per_slice, digits)
    volume, series = read_series(save_slices(tmp_path, slices))

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    expected = np.degrees(np.arctan2(abs(rows_per_slice) * spacing[1], spacing[2]))
    assert series.tilt.degrees == pytest.approx(expected, abs=0.2)
    place = np.linalg.solve(affine, volume.affine)[:3, 3]
    # Positions rounded to 0.1 mm move the grid by less, and its spacing hardly.
    np.testing.assert_allclose(
        volume.affine[:3, :3], affine[:3, :3], atol=1e-6 if digits == 6 else 0.01
    )
    np.testing.assert_allclose(place, np.rint(place), atol=1e-4 if digits == 6 else 0.06)
    # The straight grid is the phantom's, with more rows at one end or the other.
    x, y, z = np.rint(place).astype(int)
    assert (x, z) == (0, 0) and -MARGIN < y <= 0
    error = volume.array[:, -y : ct.shape[1] - y] - ct[:, : volume.array.shape[1] + y]
    if rows_per_slice == 1 and digits == 6:
        assert np.abs(error).max() <= 1
    assert np.sqrt(np.mean(error**2)) < 2 and np.abs(error).max() < 40


@pytest.mark.parametrize("multi_frame", [False, True])
def test_a_label_map_goes_back_onto_the_slices(tmp_path: Path, phantom, multi_frame: bool) -> None:
    ct, mask, affine = phantom
    slices = ct_slices(ct, affine)
    tilt_gantry(slices, 1)
    if multi_frame:
        hd.legacy.LegacyConvertedEnhancedCTImage(
            slices, generate_uid(), 1, generate_uid(), 1
        ).save_as(tmp_path / "all.dcm")
    else:
        save_slices(tmp_path, slices)
    volume, series = read_series(tmp_path)
    straight = np.zeros(volume.array.shape, np.uint8)
    straight[:, -mask.shape[1] :] = mask
    expected = canonical_volume(sheared(mask, 1), Geometry(mask.shape, affine)).array
    found = series.on_slices(straight, volume.native)
    np.testing.assert_array_equal(found, expected[::-1, ::-1].transpose(2, 1, 0))


def test_labels_lie_within_half_a_voxel_on_the_slices(tmp_path: Path, phantom) -> None:
    ct, _, affine = phantom
    slices = ct_slices(ct, affine)
    tilt_gantry(slices, -0.61)
    volume, series = read_series(save_slices(tmp_path, slices))
    place = np.indices(volume.array.shape)[1].astype(np.int16)
    found = series.on_slices(place, volume.native)
    y = volume.affine[1, 3] + volume.affine[1, 1] * found
    rows = np.arange(found.shape[1])[:, None]
    for frame, plane in zip(series.frames, y, strict=True):
        in_slice = -(frame.position_mm[1] + rows * frame.spacing_mm[1])
        assert np.abs(plane - in_slice).max() <= 0.501 * frame.spacing_mm[1]
