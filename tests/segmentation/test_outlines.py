"""Outlines from the CT: analytic bodies with masks that a coarse network could draw."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from vertseg.segmentation.outlines import THICKEST_MM, CtOutlines, outlines_of_ct

SOFT_HU, BONE_HU = 40, 300
SHAPE = (60, 60, 48)
FAT_MM = 2.5
"""By how much masks are too wide: a cell of the shipped model."""


def cylinder(
    spacing: tuple[float, float, float], z_mm: tuple[float, float], radius_mm: float = 14
) -> np.ndarray:
    """Upright cylinder in the middle of the array, between two heights."""
    x, y, z = ((np.arange(n) + 0.5) * step for n, step in zip(SHAPE, spacing, strict=True))
    away = np.hypot(x[:, None] - x[-1] / 2, y[None] - y[-1] / 2)
    return (away <= radius_mm)[..., None] & (z >= z_mm[0]) & (z <= z_mm[1])


def fattened(
    solid: np.ndarray, spacing: tuple[float, float, float], by_mm: float = FAT_MM
) -> np.ndarray:
    return ndimage.distance_transform_edt(~solid, sampling=spacing) <= by_mm


def scan(*bones: np.ndarray, noise_hu: float = 15) -> np.ndarray:
    """CT (x, y, z) of bones in soft tissue."""
    hu = np.full(SHAPE, SOFT_HU, np.float32)
    for bone in bones:
        hu[bone] = BONE_HU
    noise = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    return np.rint(hu + noise_hu * noise).astype(np.int16)


def refined(ct: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float]) -> CtOutlines:
    before = mask.copy()
    found = outlines_of_ct(ct, mask, spacing)
    np.testing.assert_array_equal(mask, before)
    assert found.mask.dtype == mask.dtype
    whole = np.zeros_like(mask)
    whole[found.box.slices] = found.mask
    assert set(np.unique(whole)) == set(np.unique(mask))
    return replace(found, mask=whole)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 0.8, 1.5), (2, 0.9, 0.9), (1, 1, 3)])
def test_a_mask_that_is_too_wide_is_right_to_a_voxel(spacing) -> None:
    middle = SHAPE[2] * spacing[2] / 2
    bone = cylinder(spacing, (middle - 12, middle + 12))
    found = refined(scan(bone), fattened(bone, spacing).astype(np.uint8) * 22, spacing)
    assert found.kept == {}
    everywhere = np.ones((3, 3, 3))
    assert not (found.mask == 22)[~ndimage.binary_dilation(bone, everywhere)].any()
    assert (found.mask == 22)[ndimage.binary_erosion(bone, everywhere)].all()
    assert np.count_nonzero((found.mask == 22) != bone) < 0.02 * np.count_nonzero(bone)


def test_a_mask_that_is_too_narrow_grows_to_the_surface() -> None:
    bone = cylinder((1, 1, 1), (10, 36))
    narrow = ndimage.distance_transform_edt(bone) > 1.5
    found = refined(scan(bone), narrow.astype(np.uint8), (1, 1, 1))
    assert np.count_nonzero((found.mask == 1) != bone) < 0.02 * np.count_nonzero(bone)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 2)])
def test_neighbours_two_millimetres_apart_do_not_merge(spacing) -> None:
    upper = cylinder(spacing, (24, 44))
    lower = cylinder(spacing, (4, 22))
    gap = cylinder(spacing, (22, 24)) & ~upper & ~lower
    assert gap.any()
    mask = np.zeros(SHAPE, np.uint8)
    mask[fattened(lower, spacing)] = 21
    mask[fattened(upper, spacing) & ~lower] = 20
    found = refined(scan(upper, lower), mask, spacing).mask
    assert (found[upper] == 20).mean() > 0.98 and (found[lower] == 21).mean() > 0.98
    assert (found[gap] == 0).mean() > 0.95


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 2)])
def test_an_end_plate_labelled_as_the_neighbours_goes_back_to_its_vertebra(spacing) -> None:
    upper, lower = cylinder(spacing, (26, 44)), cylinder(spacing, (4, 21))
    mask = np.zeros(SHAPE, np.uint8)
    z = (np.arange(SHAPE[2]) + 0.5) * spacing[2]
    # The border lies 4 mm below the disc.
    mask[fattened(upper | lower, spacing)] = 21
    mask[(mask > 0) & (z > 17)] = 20
    found = refined(scan(upper, lower), mask, spacing).mask
    assert (found[upper] == 20).mean() > 0.98 and (found[lower] == 21).mean() > 0.98
    disc = cylinder(spacing, (21, 26)) & ~upper & ~lower
    assert (found[disc] == 0).mean() > 0.95


def test_a_piece_that_touches_no_other_bone_keeps_its_label() -> None:
    body, process, other = (cylinder((1, 1, 1), z, 8) for z in [(30, 44), (22, 25), (4, 16)])
    mask = np.zeros(SHAPE, np.uint8)
    mask[body | process], mask[other] = 20, 21
    found = refined(scan(body, process, other), mask, (1, 1, 1)).mask
    assert (found[process] == 20).all() and (found[other] == 21).all()


@pytest.mark.parametrize("marrow_hu", [-60, 40, 120])
def test_dark_marrow_is_filled(marrow_hu: float) -> None:
    bone = cylinder((1, 1, 1), (10, 36))
    ct = scan(bone)
    depth = ndimage.distance_transform_edt(bone)
    marrow = depth > 2
    ct[marrow] = marrow_hu
    found = refined(ct, fattened(bone, (1, 1, 1), 1.5).astype(np.uint8) * 20, (1, 1, 1)).mask
    assert (found[marrow] == 20).all()
    assert np.count_nonzero((found == 20) != bone) < 0.03 * np.count_nonzero(bone)


def test_a_cut_vertebra_keeps_its_cut() -> None:
    bone = cylinder((1, 1, 1), (0, 20))
    ct = scan(bone)
    # The cut opens the marrow.
    ct[
        ndimage.distance_transform_edt(np.pad(bone, ((0, 0), (0, 0), (9, 0)), "edge"))[:, :, 9:] > 2
    ] = 30
    found = refined(ct, fattened(bone, (1, 1, 1), 1.5).astype(np.uint8) * 20, (1, 1, 1)).mask
    np.testing.assert_array_equal(found[:, :, 0] == 20, bone[:, :, 0])


def test_what_lies_far_from_the_spine_changes_nothing() -> None:
    bone = cylinder((1, 1, 1), (10, 36))
    ct, mask = scan(bone), fattened(bone, (1, 1, 1)).astype(np.uint8) * 22
    margin = ((9, 4), (0, 30), (11, 2))
    large = outlines_of_ct(np.pad(ct, margin), np.pad(mask, margin), (1, 1, 1))
    whole = np.zeros(np.add(SHAPE, np.sum(margin, axis=1)), np.uint8)
    whole[large.box.slices] = large.mask
    expected = np.pad(refined(ct, mask, (1, 1, 1)).mask, margin)
    np.testing.assert_array_equal(whole, expected)


def test_slices_too_thick_change_nothing_and_say_so() -> None:
    spacing = (1, 1, THICKEST_MM + 0.5)
    bone = cylinder(spacing, (60, 200))
    mask = fattened(bone, spacing).astype(np.uint8) * 22
    found = refined(scan(bone), mask, spacing)
    np.testing.assert_array_equal(found.mask, mask)
    assert found.kept == {22: f"voxels of {THICKEST_MM + 0.5:.1f} mm are too long"}


def test_without_contrast_nothing_changes() -> None:
    mask = cylinder((1, 1, 1), (10, 36)).astype(np.uint8) * 22
    found = refined(scan(), mask, (1, 1, 1))
    np.testing.assert_array_equal(found.mask, mask)
    assert "contrast" in found.kept[22]


def test_a_mask_beside_bone_is_not_lost() -> None:
    bone = cylinder((1, 1, 1), (10, 36))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:10, 20:40, 12:30] = 20
    mask[fattened(bone, (1, 1, 1))] = 21
    found = refined(scan(bone), mask, (1, 1, 1))
    assert np.count_nonzero(found.mask == 20) > 0.4 * np.count_nonzero(mask == 20)


def test_no_labels_at_all() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    assert not refined(scan(), mask, (1, 1, 1)).mask.any()
