import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes
from scipy import ndimage

from vertseg.anatomy.distances import core_voxels, depth_mm


def test_depths_are_scipys_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for shape, spacing in (((9, 20, 14), (0.7, 0.7, 1.5)), ((1, 7, 30), (2.0, 0.31, 1.0))):
        inside = ndimage.gaussian_filter(rng.standard_normal(shape), 1) > -0.1
        expected = ndimage.distance_transform_edt(inside, sampling=spacing)
        np.testing.assert_array_equal(depth_mm(inside, np.array(spacing)), expected)


def test_the_depth_of_a_ball() -> None:
    away = np.sqrt(sum(np.square(axis - 10.0) for axis in np.ogrid[:21, :21, :21]))
    assert depth_mm(away < 8, np.full(3, 0.5))[10, 10, 10] == 4


@given(
    shape=array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=24),
    spacing=st.tuples(*[st.sampled_from([0.31, 0.5, 0.7, 1.0, 1.5, 3.0])] * 3),
    share=st.sampled_from([0.0, 0.5, 0.6, 0.9]),
    smoothing=st.sampled_from([0.5, 2.0, 4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_core_is_that_of_all_distances(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    share: float,
    smoothing: float,
    seed: int,
) -> None:
    noise = np.random.default_rng(seed).standard_normal(shape)
    inside = ndimage.gaussian_filter(noise, smoothing)
    inside = inside > np.quantile(inside, 0.3)
    inside.flat[0] = True
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    # Which of equal depths is the larger one, rounding decides.
    least, most = (share * depth.max() * (1 + sign * 1e-9) for sign in (1, -1))
    core = np.zeros(depth.shape, bool)
    core[tuple(core_voxels(inside, np.array(spacing), share).T + 1)] = True
    assert not np.any((depth > least) & ~core)
    assert not np.any((depth < most) & core)
