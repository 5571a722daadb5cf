"""The measures of `studies.doubt`, in cases with known answers."""

import numpy as np
import pytest
from scipy.special import expit

from studies.doubt import (
    Body,
    Named,
    Record,
    fit_weights,
    in_view,
    label_around,
    label_of,
    levels_downwards,
    true_levels,
)
from studies.numbering_on_detections import calibration_error, worst_first_auc
from vertseg.anatomy.labels import IDS, SACRUM
from vertseg.scans.volumes import Geometry, Volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ct(slices: int = 60, affine: np.ndarray = AFFINE) -> Volume:
    shape = (30, 30, slices)
    return Volume(np.zeros(shape, np.int16), affine, Geometry(shape, affine))


def bodies(*names: str, top: float = 100.0, step: float = 33.0) -> list[Body]:
    return [
        Body(IDS[name], np.array([30.0, 30.0, top - step * n]), True)
        for n, name in enumerate(names)
    ]


def named_at(**heights: float) -> dict[int, np.ndarray]:
    return {IDS[name]: np.array([31.0, 29.0, z]) for name, z in heights.items()}


def test_the_true_level_is_that_of_the_nearest_body_or_of_one_beyond() -> None:
    known = bodies("L3", "L4", "L5")
    found = true_levels(named_at(L2=101, L3=66, L5=39, L6=2), known, "")
    assert found == {21: IDS["L3"], 22: IDS["L4"], 24: IDS["L5"], 25: SACRUM}
    assert true_levels(named_at(T12=167), known, "") == {19: IDS["L1"]}
    assert true_levels(named_at(L6=2), known, "L6") == {25: IDS["L6"]}
    unknown = [Body(None, known[0].centre_mm, True)]
    assert true_levels(named_at(L3=100), unknown, "") == {22: None}


def test_variants_change_the_levels_downwards() -> None:
    usual = levels_downwards("")
    assert usual[-2:] == [IDS["L5"], SACRUM] and IDS["T13"] not in usual
    assert levels_downwards("L6")[-2:] == [IDS["L6"], SACRUM]
    assert IDS["T12"] not in levels_downwards("no T12")
    assert IDS["T13"] in levels_downwards("T13")


def test_a_body_counts_as_whole_half_a_step_from_the_ends() -> None:
    shown = in_view(bodies("T12", "L1", "L2", "L3", top=110.0), ct(slices=50))
    # The scan reaches from -1 to 99 mm: T12 at 110 mm is out of view, L1 at 77, L3 at 11 is cut.
    assert [(one.level, one.whole) for one in shown] == [
        (IDS["L1"], True), (IDS["L2"], True), (IDS["L3"], False),
    ]  # fmt: skip


def test_the_most_frequent_label_around_a_body_is_its_own() -> None:
    volume, mask = ct(), np.zeros((30, 30, 60), np.uint8)
    body = bodies("L1", top=60.0)[0]
    mask[10:20, 10:20, 28:40] = IDS["L1"]
    mask[10:20, 10:20, 20:28] = IDS["L2"]
    assert label_around(mask, volume, body) == IDS["L1"]
    mask[:, :, 30:] = 0
    assert label_around(mask, volume, body) == 0, "less than half of the ball is labelled"
    mask[10:20, 10:20, 28:40] = IDS["L2"]
    assert label_around(mask, volume, body) == IDS["L2"]


def test_the_atlas_counts_by_its_own_centre() -> None:
    """C1 is a ring: amid it is no label, or C2's dens."""
    volume, mask = ct(), np.zeros((30, 30, 60), np.uint8)
    body = bodies("C1", top=60.0)[0]
    mask[13:17, 15:18, 28:33] = IDS["C2"]
    near, far = (body.centre_mm + np.array([0.0, y, 2.0]) for y in (6.0, 18.0))
    assert label_of(body, mask, volume, {IDS["C1"]: near}) == IDS["C1"]
    assert label_of(body, mask, volume, {IDS["C1"]: far}) == 0
    assert label_of(body, mask, volume, {IDS["C2"]: near}) != IDS["C1"]
    other = bodies("L1", top=60.0)[0]
    mask[10:20, 10:20, 28:40] = IDS["L1"]
    assert label_of(other, mask, volume, {IDS["C1"]: near}) == IDS["L1"]


def test_the_fit_finds_the_weights_that_decided() -> None:
    rng = np.random.default_rng(0)
    terms = rng.normal((1.0, 0.4, 0.9, 0.7), (2.0, 0.2, 0.05, 0.15), (20_000, 4))
    log_odds = -9.0 + terms @ (0.5, -5.0, 10.0, 4.0)
    right = rng.random(len(terms)) < expit(log_odds)
    found = fit_weights(terms, right, np.ones(len(terms)))
    np.testing.assert_allclose(found, (-9.0, 0.5, -5.0, 10.0, 4.0), rtol=0.12)


def test_worst_first_and_calibration() -> None:
    said, right = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    even = np.ones(4)
    assert worst_first_auc(said, right, even) == pytest.approx((2 + 1.5) / 4)
    assert worst_first_auc(said, right, np.array([1, 1, 0, 1])) == 1
    assert np.isnan(worst_first_auc(said, np.ones(4, bool), even))
    # Classes of a tenth: 0.1 is wrong, half of 0.4 are right, 0.9 is right.
    assert calibration_error(said, right, even) == pytest.approx((0.1 + 2 * 0.1 + 0.1) / 4)


def test_a_record_is_read_with_the_weights_and_limits_of_today() -> None:
    sure = Named("L1", True, 0.99, 0.1, votes=0.2, bone=0.95, classes=0.9)
    content = {
        "scan": "a", "kind": "strained", "variant": "", "bodies": 1, "right_bodies": 1,
        "right": True, "in_order": 0.99, "all_right": 0.1, "codes": ["doubtful_levels", "renamed"],
        "named": [vars(sure)],
    }  # fmt: skip
    found = Record.of(content)
    assert found.all_right is not None and found.all_right > 0.9
    assert "doubtful_levels" not in found.codes and "renamed" in found.codes
    assert found.named[0].probability >= found.all_right
    assert found.weight > 1 > Record.of(content | {"variant": "L6"}).weight
