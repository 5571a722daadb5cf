"""Measures against known answers, brute force and SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vertseg.anatomy.label_maps import boundary_labels
from vertseg.anatomy.labels import IDS
from vertseg.evaluation import metrics

AFFINE = np.diag([0.5, 2.0, 1.25, 1.0])

LABEL_MAPS = arrays(np.uint8, (4, 3, 3), elements=st.sampled_from([0, 0, 1, 2, 28]))


def points(**heights):
    """Centres on a vertical line from the heights in mm of named vertebrae."""
    return {IDS[name]: np.array([0.0, 0.0, float(z)]) for name, z in heights.items()}


def lumbar(*names, start=0.0):
    """Vertebrae 30 mm apart, downwards."""
    return points(**{name: start - 30 * index for index, name in enumerate(names)})


def random_maps(shape=(20, 18, 15), seed=0):
    """Two overlapping label maps of two boxes each, with ragged surfaces."""
    rng = np.random.default_rng(seed)
    maps = []
    for shift in (0, 1):
        array = np.zeros(shape, np.uint8)
        array[3 + shift : 10, 4:12, 3:7] = 20
        array[5:15, 3 : 11 + shift, 8 : 12 + shift] = 21
        array[(rng.random(shape) < 0.2) & (array > 0)] = 0
        maps.append(array)
    return maps


def contour(mask):
    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8).transpose())
    image.SetSpacing(np.diag(AFFINE)[:3].tolist())
    return sitk.LabelContour(image, fullyConnected=False)


def surface_mm(mask):
    """Brute force: voxels with a face neighbour outside."""
    padded = np.pad(mask, 1)
    neighbours = np.array(
        [np.roll(padded, step, axis) for axis in range(3) for step in (-1, 1)]
    ).all(axis=0)
    return (np.argwhere(padded & ~neighbours) - 1) * np.diag(AFFINE)[:3]


class TestDice:
    def test_known_answer_with_a_missed_and_an_invented_vertebra(self):
        reference = np.array([20, 20, 21, 21, 22, 0, 0, 0], np.uint8).reshape(2, 2, 2)
        predicted = np.array([20, 20, 21, 22, 0, 24, 0, 0], np.uint8).reshape(2, 2, 2)
        counts = metrics.confusion(reference, predicted)
        assert metrics.dice_per_label(counts) == pytest.approx({20: 1, 21: 2 / 3, 22: 0, 24: 0})
        assert metrics.multi_label_dice(counts) == pytest.approx((1 + 2 / 3) / 4)
        assert metrics.multi_label_dice_reference_labels(counts) == pytest.approx((1 + 2 / 3) / 3)
        assert metrics.multi_label_dice_interior(counts, {24, 22}) == pytest.approx((1 + 2 / 3) / 2)
        assert metrics.binary_dice(counts) == pytest.approx(2 * 4 / (5 + 5))

    def test_maps_may_lie_in_memory_in_any_order(self):
        reference, predicted = random_maps()
        expected = metrics.confusion(reference, predicted)
        assert expected.sum() > 0
        for one in (reference, np.asfortranarray(reference)):
            for other in (predicted, np.asfortranarray(predicted)):
                np.testing.assert_array_equal(metrics.confusion(one, other), expected)

    def test_values_that_name_no_vertebra_are_refused(self):
        inside = np.full((2, 2, 2), 20)
        for value in (-1, 29):
            wrong = np.where(np.arange(8).reshape(2, 2, 2) == 3, value, inside)
            with pytest.raises(ValueError, match="label values"):
                metrics.confusion(inside, wrong)

    def test_matches_simpleitk(self):
        reference, predicted = random_maps()
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(sitk.GetImageFromArray(reference), sitk.GetImageFromArray(predicted))
        dice = metrics.dice_per_label(metrics.confusion(reference, predicted))
        assert dice == pytest.approx({i: overlap.GetDiceCoefficient(i) for i in (20, 21)})

    @given(LABEL_MAPS, LABEL_MAPS)
    def test_matches_sets_of_voxels(self, reference, predicted):
        expected = {}
        for label in sorted(set(reference.flat) | set(predicted.flat) - {0}):
            if label:
                ours = set(map(tuple, np.argwhere(reference == label)))
                theirs = set(map(tuple, np.argwhere(predicted == label)))
                expected[label] = 2 * len(ours & theirs) / (len(ours) + len(theirs))
        counts = metrics.confusion(reference, predicted)
        assert metrics.dice_per_label(counts) == pytest.approx(expected)

    @given(LABEL_MAPS, LABEL_MAPS)
    def test_is_symmetric_bounded_and_one_for_equals(self, reference, predicted):
        there = metrics.confusion(reference, predicted)
        back = metrics.confusion(predicted, reference)
        equal = metrics.confusion(reference, reference)
        for measure in (metrics.multi_label_dice, metrics.binary_dice):
            assert 0 <= measure(there) <= 1
            assert measure(there) == pytest.approx(measure(back))
            assert measure(equal) == 1

    def test_nothing_to_find(self):
        empty, one = np.zeros((2, 2, 2), np.uint8), np.full((2, 2, 2), 20, np.uint8)
        nothing = metrics.confusion(empty, empty)
        invented = metrics.confusion(empty, one)
        assert metrics.multi_label_dice(nothing) == metrics.binary_dice(nothing) == 1
        assert metrics.multi_label_dice_interior(nothing, set()) == 1
        assert metrics.multi_label_dice(invented) == metrics.binary_dice(invented) == 0
        assert math.isnan(metrics.multi_label_dice_reference_labels(invented))
        assert math.isnan(metrics.multi_label_dice_interior(invented, {20}))

    def test_a_sacrum_is_background(self):
        reference = np.array([24, 24, 26, 26, 26, 0, 0, 0], np.uint8).reshape(2, 2, 2)
        predicted = np.array([24, 24, 24, 26, 0, 26, 0, 0], np.uint8).reshape(2, 2, 2)
        counts = metrics.confusion(reference, predicted)
        assert counts.sum() == 3
        assert metrics.dice_per_label(counts) == {24: 2 * 2 / (2 + 3)}
        assert metrics.binary_dice(counts) == 2 * 2 / (2 + 3)

    def test_rejects_what_it_cannot_compare(self):
        one = np.zeros((2, 2, 2), np.uint8)
        with pytest.raises(ValueError, match="shapes differ"):
            metrics.confusion(one, one[:1])
        with pytest.raises(ValueError, match="0-28"):
            metrics.confusion(one, one + 29)


def test_boundary_labels_follow_the_reference_where_it_has_the_vertebra():
    reference, predicted = np.zeros((2, 6, 6, 6), np.uint8)
    reference[0, 2, 2] = 19
    reference[2, 2, 2] = 20
    predicted[2, 2, 0:3] = 20
    predicted[3, 5, 3] = 21
    predicted[3, 3, 3] = 22
    assert boundary_labels(reference, predicted) == {19, 21}


class TestIdentification:
    def test_perfect(self):
        found = metrics.identification(lumbar("L1", "L2"), lumbar("L1", "L2", start=3))
        assert (found.rate, found.precision, found.localisation_error_mm) == (1, 1, 3)

    def test_one_missed_of_nine(self):
        names = ["T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
        reference = lumbar(*names)
        predicted = {k: v for k, v in reference.items() if k != IDS["L1"]}
        found = metrics.identification(reference, predicted)
        assert found.rate == pytest.approx(0.889, abs=5e-4)
        assert found.precision == 1

    def test_extra_labels_cost_precision_only(self):
        found = metrics.identification(lumbar("L1", "L2"), lumbar("L1", "L2", "L3"))
        assert (found.rate, found.precision) == (1, pytest.approx(2 / 3))

    def test_spine_shifted_by_one(self):
        found = metrics.identification(lumbar("T12", "L1", "L2"), lumbar("L1", "L2", "L3"))
        assert (found.rate, found.precision) == (0, 0)
        assert math.isnan(found.localisation_error_mm)

    def test_nearest_is_sought_among_common_labels_only(self):
        found = metrics.identification(points(L1=0, L2=-30), points(L1=-17))
        assert found.hits == {IDS["L1"]: True, IDS["L2"]: False}

    def test_tolerance_is_inclusive(self):
        assert metrics.identification(points(L1=0), points(L1=20)).rate == 1
        assert metrics.identification(points(L1=0), points(L1=20.01)).rate == 0

    def test_nothing_in_common_or_at_all(self):
        assert metrics.identification(points(L1=0), points(L2=0)).rate == 0
        nothing = metrics.identification({}, {})
        assert math.isnan(nothing.rate) and math.isnan(nothing.precision)


class TestLabelling:
    def test_right(self):
        offsets = metrics.label_offsets(lumbar("L1", "L2"), lumbar("L1", "L2", start=5))
        assert metrics.common_shift(offsets, 2) == 0

    @pytest.mark.parametrize(
        ("predicted", "shift"),
        [(("L1", "L2", "L3"), 1), (("T11", "T12", "L1"), -1), (("L2", "L3", "L4"), 2)],
    )
    def test_shift_across_the_thoracolumbar_border(self, predicted, shift):
        offsets = metrics.label_offsets(lumbar("T12", "L1", "L2"), lumbar(*predicted))
        assert metrics.common_shift(offsets, 3) == shift
        assert metrics.median_offset(offsets) == shift

    def test_t13_is_a_step_where_it_occurs(self):
        reference = lumbar("T12", "T13", "L1", "L2")
        assert metrics.common_shift(metrics.label_offsets(reference, reference), 4) == 0
        offsets = metrics.label_offsets(reference, lumbar("T12", "L1", "L2", "L3"))
        assert offsets == {IDS["T12"]: 0, IDS["T13"]: 1, IDS["L1"]: 1, IDS["L2"]: 1}
        assert metrics.common_shift(offsets, 4) is None
        assert metrics.median_offset(offsets) == 1

    def test_additional_vertebrae_do_not_count(self):
        offsets = metrics.label_offsets(lumbar("L1", "L2"), lumbar("L1", "L2", "L3"))
        assert offsets == {IDS["L1"]: 0, IDS["L2"]: 0}

    def test_too_few_matches_have_no_shift(self):
        offsets = metrics.label_offsets(lumbar("L1", "L2", "L3"), points(L2=0))
        assert offsets == {IDS["L1"]: 1}
        assert metrics.common_shift(offsets, 3) is None
        assert metrics.label_offsets({}, lumbar("L1")) == {}
        assert math.isnan(metrics.median_offset({}))

    @given(
        st.lists(st.floats(-200, 200), min_size=1, max_size=6, unique=True),
        st.lists(st.floats(-200, 200), min_size=1, max_size=6, unique=True),
    )
    def test_matching_is_mutual_and_near(self, ours, theirs):
        reference = {i + 1: np.array([0, 0, z]) for i, z in enumerate(ours)}
        predicted = {i + 1: np.array([0, 0, z]) for i, z in enumerate(theirs)}
        for label, offset in metrics.label_offsets(reference, predicted).items():
            z_ours, z_theirs = ours[label - 1], theirs[label - 1 + offset]
            assert abs(z_ours - z_theirs) <= 20
            gap = abs(z_ours - z_theirs) - 1e-9
            assert gap <= min(abs(z - z_theirs) for z in ours)
            assert gap <= min(abs(z - z_ours) for z in theirs)


class TestSurfaceDistances:
    def test_matches_brute_force(self):
        reference, predicted = random_maps(seed=3)
        result = metrics.surface_distances(reference, predicted, AFFINE)
        assert result.keys() == {20, 21}
        for label, distance in result.items():
            ours, theirs = surface_mm(reference == label), surface_mm(predicted == label)
            table = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
            ways = table.min(axis=1), table.min(axis=0)
            assert distance.hausdorff_mm == pytest.approx(max(way.max() for way in ways))
            assert distance.hd95_mm == pytest.approx(max(np.percentile(way, 95) for way in ways))

    def test_matches_simpleitk(self):
        reference, predicted = random_maps(seed=4)
        result = metrics.surface_distances(reference, predicted, AFFINE)
        for label, distance in result.items():
            oracle = sitk.HausdorffDistanceImageFilter()
            oracle.Execute(contour(reference == label), contour(predicted == label))
            assert distance.hausdorff_mm == pytest.approx(oracle.GetHausdorffDistance())

    def test_translation_along_an_oblique_axis(self):
        affine = np.eye(4)
        affine[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 2]])
        reference, predicted = np.zeros((2, 9, 9, 9), np.uint8)
        reference[2:5, 2:5, 2:5] = 5
        predicted[2:5, 2:5, 4:7] = 5
        result = metrics.surface_distances(reference, predicted, affine)
        assert result[5].hausdorff_mm == pytest.approx(4)

    @settings(max_examples=30)
    @given(LABEL_MAPS, LABEL_MAPS)
    def test_is_symmetric_and_zero_for_equals(self, reference, predicted):
        there = metrics.surface_distances(reference, predicted, AFFINE)
        back = metrics.surface_distances(predicted, reference, AFFINE)
        assert there == back
        for distance in metrics.surface_distances(reference, reference, AFFINE).values():
            assert distance.hausdorff_mm == 0
        assert all(distance.hd95_mm <= distance.hausdorff_mm for distance in there.values())
