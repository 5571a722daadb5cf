"""Boxes against boolean arrays of their voxels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vertseg.anatomy.boxes import Box

SHAPE = (5, 4, 6)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes of at least one voxel in an array of SHAPE."""
    starts = [draw(st.integers(0, side - 1)) for side in SHAPE]
    stops = [draw(st.integers(a + 1, side)) for a, side in zip(starts, SHAPE, strict=True)]
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def voxels(box: Box) -> np.ndarray:
    array = np.zeros(SHAPE, bool)
    array[box.slices] = True
    return array


def box_around(array: np.ndarray) -> Box:
    (slices,) = ndimage.find_objects(array.astype(np.uint8))
    return Box.of(slices)


@given(boxes())
def test_a_box_is_the_box_around_its_voxels(box: Box) -> None:
    assert box_around(voxels(box)) == box
    assert box.shape == voxels(box)[box.slices].shape
    assert np.prod(box.shape) == voxels(box).sum()
    assert not box.is_empty


def test_the_whole_box_holds_all_voxels() -> None:
    assert voxels(Box.whole(SHAPE)).all()
    assert Box.whole((5, 0, 6)).is_empty
    assert all(type(side) is int for side in Box.whole(np.array(SHAPE)).stop)


@given(boxes(), boxes())
def test_the_intersection_holds_the_shared_voxels(one: Box, other: Box) -> None:
    shared = one.intersection(other)
    np.testing.assert_array_equal(voxels(shared), voxels(one) & voxels(other))
    assert shared.is_empty == (not voxels(shared).any())
    assert np.prod(shared.shape) == voxels(shared).sum()


@given(boxes(), boxes())
def test_the_union_is_the_box_around_both(one: Box, other: Box) -> None:
    assert one.union(other) == other.union(one) == box_around(voxels(one) | voxels(other))


@given(boxes(), boxes())
def test_a_box_inside_another_counts_from_its_start(one: Box, other: Box) -> None:
    outer = one.union(other)
    cut = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    np.testing.assert_array_equal(cut[outer.slices][one.inside(outer).slices], cut[one.slices])


@given(boxes(), st.integers(0, 4))
def test_a_margin_ends_at_the_border(box: Box, margin: int) -> None:
    grown = voxels(box)
    if margin:
        grown = ndimage.binary_dilation(grown, np.ones((3, 3, 3)), iterations=margin)
    np.testing.assert_array_equal(voxels(box.widened(margin, SHAPE)), grown)


def test_a_margin_may_differ_between_axes() -> None:
    box = Box((2, 2, 2), (3, 3, 3)).widened(np.array([0.0, 1.0, 2.0]), SHAPE)
    assert box == Box((2, 1, 0), (3, 4, 5))


@given(boxes(), st.data())
def test_slabs_differ_along_z_alone(box: Box, data: st.DataObject) -> None:
    start = data.draw(st.integers(box.start[2], box.stop[2] - 1))
    expected = voxels(box)
    expected[..., :start] = expected[..., start + 1 :] = False
    np.testing.assert_array_equal(voxels(box.along_z(start, start + 1)), expected)
