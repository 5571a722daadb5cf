"""Label maps against numpy on small arrays."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from vertseg.anatomy.label_maps import boundary_labels, grown_labels, label_boxes, labels_present

LABELS = st.sampled_from([0, 0, 0, 1, 7, 25, 28])
SIDES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
MAPS = arrays(np.uint8, SIDES, elements=LABELS)
PAIRS = SIDES.flatmap(lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=LABELS)] * 2))


def touching(label_map: np.ndarray) -> set[int]:
    inner = np.zeros(label_map.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    return set(label_map[~inner].tolist()) - {0}


@given(MAPS)
def test_labels_are_the_values_other_than_background(label_map: np.ndarray) -> None:
    present = labels_present(label_map)
    assert present == sorted(set(label_map.ravel().tolist()) - {0})
    assert all(type(label) is int for label in present)


@given(MAPS)
def test_boxes_lie_tightly_around_their_labels(label_map: np.ndarray) -> None:
    boxes = label_boxes(label_map)
    assert list(boxes) == labels_present(label_map)
    for label, box in boxes.items():
        places = np.argwhere(label_map == label)
        assert box.start == tuple(places.min(axis=0))
        assert box.stop == tuple(places.max(axis=0) + 1)


@given(PAIRS)
def test_the_reference_decides_what_is_cut_and_the_prediction_where_it_is_silent(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    reference, predicted = pair
    invented = touching(predicted) - set(labels_present(reference))
    assert boundary_labels(reference, predicted) == touching(reference) | invented
    assert boundary_labels(reference, reference) == touching(reference)


def test_a_vertebra_is_cut_at_any_of_the_six_faces() -> None:
    for axis in range(3):
        for index in (0, -1):
            label_map = np.zeros((4, 5, 6), np.uint8)
            label_map[1:-1, 1:-1, 1:-1] = 20
            assert boundary_labels(label_map, label_map) == set()
            np.moveaxis(label_map, axis, 0)[index, 2, 2] = 20
            assert boundary_labels(label_map, label_map) == {20}
            whole = np.where(label_map, 0, label_map)
            assert boundary_labels(whole, label_map) == {20}


def test_labels_grow_to_the_nearest_cells() -> None:
    rng = np.random.default_rng(3)
    label_map = np.where(rng.random((9, 14, 11)) < 0.01, rng.integers(1, 26, (9, 14, 11)), 0)
    grown = grown_labels(label_map, 3)
    away = ndimage.distance_transform_edt(label_map == 0)
    np.testing.assert_array_equal(grown > 0, away <= 3)
    for cell in np.argwhere(grown > 0):
        to_each = np.linalg.norm(np.argwhere(label_map > 0) - cell, axis=1)
        nearest = label_map[label_map > 0][np.isclose(to_each, to_each.min())]
        assert grown[tuple(cell)] in nearest


def test_nothing_grows_into_a_map_without_labels() -> None:
    assert not grown_labels(np.zeros((4, 4, 4), np.uint8), 3).any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_cut_vertebrae_are_found_without_a_copy_of_the_map(order: str) -> None:
    label_map = np.zeros((100, 100, 100), np.uint8, order)
    label_map[40:60, 40:60, 90:] = 20
    tracemalloc.start()
    found = boundary_labels(label_map, label_map)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {20}
    assert peak < label_map.size / 10
