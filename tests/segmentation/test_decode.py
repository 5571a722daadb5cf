"""Logits on the grid as label maps on a scan's own voxels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vertseg.anatomy.boxes import Box
from vertseg.scans.volumes import Geometry
from vertseg.segmentation import grid
from vertseg.segmentation.decode import decode_logits, reach
from vertseg.segmentation.grid import GridTransform, interpolation_matrix


def transform(native: tuple[int, int, int], shape: tuple[int, int, int]) -> GridTransform:
    return GridTransform(shape, Geometry(native, np.diag([0.9, 0.9, 2.0, 1.0])))


def test_equal_grids_are_the_identity() -> None:
    mask = np.random.default_rng(0).integers(0, 26, (9, 10, 11)).astype(np.uint8)
    one_hot = (np.arange(29)[:, None, None, None] == mask).astype(np.float32)
    decoded = decode_logits(one_hot, mask, transform(mask.shape, mask.shape))
    np.testing.assert_array_equal(decoded, mask)


def smooth_logits(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """A background of 3 and a few soft balls of foreground, as a network would give."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.1, (29, *shape)).astype(np.float32)
    logits[0] += 3
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for label in rng.choice(np.arange(1, 26), 4, replace=False):
        distance = np.linalg.norm(where - rng.uniform(0, shape), axis=-1)
        logits[label] += 8 * np.exp(-((distance / 2.5) ** 2))
    return logits


@pytest.mark.parametrize("native", [(40, 37, 61), (12, 12, 30), (10, 50, 9)])
@pytest.mark.parametrize("slab_voxels", [2**21, 500])
def test_decoding_equals_interpolating_all_channels(
    native, slab_voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "SLAB_VOXELS", slab_voxels)
    for seed in range(5):
        logits = smooth_logits((12, 12, 16), seed)
        if all(n >= g for n, g in zip(native, (12, 12, 16), strict=True)):
            full = F.interpolate(
                torch.from_numpy(logits)[None], size=native, mode="trilinear", align_corners=False
            )[0].numpy()
        else:
            full = logits
            for axis, n in enumerate(native):
                matrix = interpolation_matrix(full.shape[axis + 1], n)
                full = np.moveaxis(np.tensordot(matrix, full, (1, axis + 1)), 0, axis + 1)
        expected = full.argmax(axis=0)
        decoded = decode_logits(logits, logits.argmax(axis=0), transform(native, (12, 12, 16)))
        assert (decoded != expected).mean() < 1e-3
        assert decoded.any()


def test_no_vertebra_decodes_to_an_empty_map() -> None:
    logits = np.zeros((29, 8, 8, 8), np.float32)
    logits[0] = 1
    label_map = np.zeros((8, 8, 8), np.uint8)
    assert not decode_logits(logits, label_map, transform((20, 20, 20), (8, 8, 8))).any()


@pytest.mark.parametrize("native", [(40, 37, 61), (10, 50, 9)])
def test_a_box_reaches_all_voxels_that_read_its_cells(native: tuple[int, int, int]) -> None:
    shape = (12, 12, 16)
    cells = Box((3, 0, 10), (5, 4, 16))
    reached = reach(cells, transform(native, shape))
    for axis, (voxels, count) in enumerate(zip(native, shape, strict=True)):
        own = slice(cells.start[axis], cells.stop[axis])
        reading = np.flatnonzero(interpolation_matrix(count, voxels)[:, own].any(axis=1))
        assert reached.start[axis] <= reading[0] and reading[-1] < reached.stop[axis]


def test_logits_of_another_grid_are_refused() -> None:
    label_map = np.zeros((8, 8, 9), np.uint8)
    with pytest.raises(ValueError, match="grid"):
        decode_logits(
            np.zeros((29, 8, 8, 9), np.float32), label_map, transform((5, 5, 5), (8, 8, 8))
        )
