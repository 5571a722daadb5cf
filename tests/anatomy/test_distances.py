import numpy as np
from scipy import ndimage

from vertseg.anatomy.distances import depth_mm


def test_depths_are_scipys_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for shape, spacing in (((9, 20, 14), (0.7, 0.7, 1.5)), ((1, 7, 30), (2.0, 0.31, 1.0))):
        inside = ndimage.gaussian_filter(rng.standard_normal(shape), 1) > -0.1
        expected = ndimage.distance_transform_edt(inside, sampling=spacing)
        np.testing.assert_array_equal(depth_mm(inside, np.array(spacing)), expected)


def test_the_depth_of_a_ball() -> None:
    away = np.sqrt(sum(np.square(axis - 10.0) for axis in np.ogrid[:21, :21, :21]))
    assert depth_mm(away < 8, np.full(3, 0.5))[10, 10, 10] == 4
