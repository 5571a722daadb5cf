"""Probabilities of a spine's levels by more than their order, in cases with known answers."""

import math

import pytest

from vertseg.segmentation.pieces import Certainty, Reading
from vertseg.segmentation.trust import LEAST_DOUBT, Weights, summary, trusted

CLEAR = Reading(votes=0.2, bone=0.95, classes=0.9)
JOINED = Reading(votes=0.8, bone=0.95, classes=0.9)
SACRUM = Reading(votes=0.5, bone=0.69, classes=0.36)


def by_order(all_right: float = 0.96) -> Certainty:
    return Certainty({19: 0.97, 20: 0.98, 21: 0.99}, all_right, {-1: 0.03, 1: 0.002}, {"L6": 0.026})


def test_log_odds_add_up() -> None:
    weights = Weights(constant=0.5, order=0.0, votes=-2.0, bone=3.0, classes=1.0)
    log_odds = 0.5 - 2 * 0.25 + 3 * 0.8 + 0.6
    found = weights.probability(0.3, Reading(0.25, 0.8, 0.6))
    assert found == pytest.approx(1 / (1 + math.exp(-log_odds)))


@pytest.mark.parametrize("order", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_the_order_alone_is_passed_on(order: float) -> None:
    found = Weights(0, 1, 0, 0, 0).probability(order, CLEAR)
    assert found == pytest.approx(min(max(order, LEAST_DOUBT), 1 - LEAST_DOUBT))


def test_a_scan_is_read_by_its_worst_votes_and_bone_and_its_mean_class() -> None:
    assert summary({19: CLEAR, 20: JOINED, 21: SACRUM}) == Reading(
        0.8, 0.69, pytest.approx((0.9 + 0.9 + 0.36) / 3)
    )


def test_an_order_that_fits_is_doubted_where_a_vertebra_is_none() -> None:
    clear = trusted(by_order(), dict.fromkeys((19, 20, 21), CLEAR))
    joined = trusted(by_order(), {19: CLEAR, 20: JOINED, 21: CLEAR})
    sacrum = trusted(by_order(), {19: CLEAR, 20: CLEAR, 21: SACRUM})
    # A warning follows below 95 %, a bad sign below 50 %.
    assert clear.all_right > 0.95 > joined.all_right > 0.5 > sacrum.all_right
    assert joined.right[20] < joined.right[19] and sacrum.right[21] < sacrum.right[19]


def test_an_order_that_does_not_fit_is_doubted_too() -> None:
    readings = dict.fromkeys((19, 20, 21), CLEAR)
    assert trusted(by_order(0.05), readings).all_right < trusted(by_order(), readings).all_right


def test_probabilities_agree_with_each_other() -> None:
    readings = dict.fromkeys((19, 20, 21), CLEAR)
    of_each = Weights(0, 0, 0, 0, 0)
    found = trusted(by_order(0.96), readings, Weights(math.log(0.99 / 0.01), 0, 0, 0, 0), of_each)
    assert found.all_right == 0.99
    # No vertebra is less surely right than all of them, and 1 % is left for all shifts.
    assert set(found.right.values()) == {0.99}
    assert found.shifted == {-1: pytest.approx(0.03 / 4), 1: pytest.approx(0.002 / 4)}
    found = trusted(by_order(0.96), readings, Weights(0, 0, 0, 0, 0), of_each)
    assert found.all_right == 0.5 and found.shifted == by_order().shifted
    assert found.variants == by_order().variants
