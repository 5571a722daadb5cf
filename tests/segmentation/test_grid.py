from fractions import Fraction

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vertseg.scans.volumes import Geometry
from vertseg.segmentation import grid
from vertseg.segmentation.grid import (
    AIR,
    GridTransform,
    grid_shape,
    interpolation_matrix,
    normalise_hu,
)

sizes = st.integers(2, 40)


def transform(native: tuple[int, int, int], shape: tuple[int, int, int]) -> GridTransform:
    return GridTransform(shape, Geometry(native, np.diag([0.9, 0.9, 2.0, 1.0])))


@settings(max_examples=60, deadline=None)
@given(n_in=sizes, n_out=sizes, seed=st.integers(0, 99))
def test_resampling_equals_torchs_antialiased_interpolation(
    n_in: int, n_out: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=n_in).astype(np.float32)
    image = torch.from_numpy(values).reshape(1, 1, 1, n_in).expand(1, 1, 4, n_in)
    expected = F.interpolate(
        image, size=(4, n_out), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(
        interpolation_matrix(n_in, n_out) @ values, expected[0, 0, 0].numpy(), atol=1e-5
    )


def test_encoding_equals_torchs_interpolation_of_each_axis_in_turn() -> None:
    ct = np.random.default_rng(0).uniform(-400, 1000, (45, 50, 40)).astype(np.float32)
    shape = (20, 33, 70)
    expected = torch.from_numpy(normalise_hu(ct))
    for cells in shape:
        lines = expected.movedim(0, -1)
        flat = lines.reshape(1, 1, -1, lines.shape[-1])
        size = (flat.shape[2], cells)
        resampled = F.interpolate(
            flat, size=size, mode="bilinear", antialias=True, align_corners=False
        )
        expected = resampled.reshape(*lines.shape[:2], cells)
    encoded = transform(ct.shape, shape).encode_image(ct)
    np.testing.assert_allclose(encoded, expected.numpy(), atol=1e-3)


def test_the_bone_window() -> None:
    hu = np.array([-3024, -1024, -450, 300, 1050, 3071], np.int16)
    np.testing.assert_allclose(normalise_hu(hu), [AIR, AIR, AIR, 0, 1, 1], atol=1e-6)


def test_encoding_keeps_the_mean_and_a_constant() -> None:
    ct = np.random.default_rng(0).uniform(-400, 1000, (32, 24, 48)).astype(np.float32)
    encoded = transform(ct.shape, (16, 12, 16)).encode_image(ct)
    assert encoded.dtype == np.float16
    assert encoded.astype(np.float32).mean() == pytest.approx(normalise_hu(ct).mean(), abs=5e-3)
    constant = transform(ct.shape, (7, 9, 50)).encode_image(np.full_like(ct, 300))
    np.testing.assert_allclose(constant, 0, atol=1e-3)


def test_encoding_in_slabs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ct = np.random.default_rng(0).uniform(-400, 1000, (20, 15, 30)).astype(np.float32)
    encode = transform(ct.shape, (8, 8, 8)).encode_image
    whole = encode(ct)
    monkeypatch.setattr(grid, "SLAB_VOXELS", 900)
    np.testing.assert_array_equal(encode(ct), whole)


@settings(max_examples=30, deadline=None)
@given(native=st.tuples(sizes, sizes, sizes), shape=st.tuples(sizes, sizes, sizes))
def test_labels_are_the_nearest_voxels(native, shape) -> None:
    mask = np.random.default_rng(0).integers(0, 26, native).astype(np.uint8)
    encoded = transform(native, shape).encode_labels(mask)
    for cell in list(np.ndindex(shape))[:: 1 + np.prod(shape) // 500]:
        voxel = tuple(
            int(Fraction(2 * g + 1, 2) * Fraction(n, cells))
            for g, n, cells in zip(cell, native, shape, strict=True)
        )
        assert encoded[cell] == mask[voxel]


def test_equal_grids_are_the_identity() -> None:
    mask = np.random.default_rng(0).integers(0, 26, (9, 10, 11)).astype(np.uint8)
    identity = transform(mask.shape, mask.shape)
    np.testing.assert_array_equal(identity.encode_labels(mask), mask)


def test_a_transform_survives_json() -> None:
    affine = nib.affines.from_matvec(np.array([[0, 0.1, 2], [-1, 0, 0.1], [0, -1, 0]]), [1, 2, 3])
    original = GridTransform((8, 9, 10), Geometry((11, 12, 13), affine, 2, 0))
    copy = GridTransform.from_json(original.to_json())
    assert (copy.shape, copy.native.shape) == ((8, 9, 10), (11, 12, 13))
    assert (copy.native.sform_code, copy.native.qform_code) == (2, 0)
    np.testing.assert_array_equal(copy.native.affine, affine)
    assert copy.native.sform is copy.native.qform is None


def test_the_fields_of_a_header_that_masks_take_over_survive_json() -> None:
    sform, qform = np.arange(12.0).reshape(3, 4), np.arange(10) / 7
    native = Geometry((11, 12, 13), np.eye(4), 0, 0, sform, qform, 10)
    copy = GridTransform.from_json(GridTransform((8, 9, 10), native).to_json()).native
    np.testing.assert_array_equal(copy.sform, sform)
    np.testing.assert_array_equal(copy.qform, qform)
    assert (copy.sform_code, copy.qform_code, copy.xyzt_units) == (0, 0, 10)


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        transform((5, 5, 5), (8, 8, 8)).encode_labels(np.zeros((5, 5, 6), np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(sizes, sizes, sizes),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
    cell=st.floats(0.5, 5),
)
def test_cells_of_a_fixed_spacing_fill_the_scan(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], cell: float
) -> None:
    # Stored as posterior, inferior, right: the grid counts in x, y, z.
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2] = -spacing[0], -spacing[1], spacing[2]
    affine[3, 3] = 1
    cells = grid_shape({"spacing_mm": cell}, Geometry(shape, affine))
    extent = np.multiply(shape, spacing)[[2, 0, 1]]
    for n, mm in zip(cells, extent, strict=True):
        assert n == 1 if mm < cell else abs(n * cell - mm) <= cell / 2 + 1e-9


def test_a_fixed_shape_is_every_scans() -> None:
    assert grid_shape([5, 6, 7], Geometry((9, 9, 9), np.eye(4))) == (5, 6, 7)
