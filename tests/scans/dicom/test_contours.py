"""Polygons of masks, filled again by matplotlib's test of points in a path."""

import numpy as np
import pytest
from matplotlib.path import Path
from scipy import ndimage

from vertseg.scans.dicom.contours import mask_polygons


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The voxels whose centres lie in one of the polygons."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    inside = [Path(np.vstack([one, one[:1]])).contains_points(centres) for one in polygons]
    return np.any(inside, axis=0).reshape(shape)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def ring() -> np.ndarray:
    mask = np.zeros((12, 14), bool)
    mask[2:10, 1:13] = True
    mask[4:7, 3:6] = mask[5:8, 8:11] = False
    return mask


def test_a_hole_is_joined_to_the_outline_around_it() -> None:
    (polygon,) = mask_polygons(ring())
    np.testing.assert_array_equal(filled([polygon], ring().shape), ring())
    # Each of the three rings cuts off or fills four corners of an eighth of a voxel.
    assert abs(area(polygon)) == pytest.approx(ring().sum() - 0.5 + 0.5 + 0.5)


def test_a_single_voxel_and_the_border_of_the_plane() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (polygon,) = mask_polygons(mask)
    assert sorted(polygon.tolist()) == [[1.5, 1.0], [2.0, 0.5], [2.0, 1.5], [2.5, 1.0]]
    whole = np.ones((3, 4), bool)
    (polygon,) = mask_polygons(whole)
    np.testing.assert_array_equal(filled([polygon], whole.shape), whole)
    assert len(polygon) == 8
    assert mask_polygons(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize("smoothness", [0, 1, 2])
def test_polygons_hold_the_masks_voxels(smoothness: int) -> None:
    draw = np.random.default_rng(smoothness)
    holes = 0
    for _ in range(40):
        noise = draw.normal(size=(18, 22))
        mask = (ndimage.gaussian_filter(noise, smoothness) > 0) if smoothness else noise > 0.1
        polygons = mask_polygons(mask)
        np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
        for polygon in polygons:
            assert np.any(polygon != np.roll(polygon, 1, axis=0), axis=1).all()
            holes += len(np.unique(polygon, axis=0)) < len(polygon)
    assert holes > 5
