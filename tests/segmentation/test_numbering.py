"""The most probable order of labels along a spine."""

import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from vertseg.anatomy.labels import BACKGROUND, CRANIOCAUDAL, IDS, NAMES, NUM_CLASSES
from vertseg.segmentation.numbering import (
    most_probable_levels,
    number_levels,
    put_in_order,
)
from vertseg.segmentation.pieces import Change
from vertseg.segmentation.spine_model import (
    NETWORK,
    SACRUM,
    STEP_MM,
    TAILS,
    VARIANTS,
    SpineModel,
)

THORACIC = [f"T{n}" for n in range(4, 13)]
LOIN = ["T11", "T12", "L1", "L2", "L3", "L4", "L5"]
CELL_MM = np.array([4.0, 4.0, 4.0])


def centres_of(names: list[str], size: float = 1.0) -> np.ndarray:
    """Points (n, 3) in mm below each other, as far apart as in people."""
    below = np.cumsum([0.0, *(STEP_MM[pair] * size for pair in itertools.pairwise(names))])
    return np.stack([np.zeros(len(names)), 0.2 * below, -below], axis=1) / math.hypot(1, 0.2)


def evidence_for(names: list[str], probability: float = 0.8) -> np.ndarray:
    """Log-probabilities (n, C) of pieces that look like these vertebrae."""
    rest = (1 - probability) / (NUM_CLASSES - 1)
    evidence = np.full((len(names), NUM_CLASSES), math.log(rest))
    for row, name in zip(evidence, names, strict=True):
        row[IDS.get(name, BACKGROUND)] = math.log(probability)
    evidence[:, SACRUM] = evidence[:, BACKGROUND]
    return evidence


def decoded(evidence: np.ndarray, centres_mm: np.ndarray, model: SpineModel = NETWORK) -> list[str]:
    labels = most_probable_levels(evidence, centres_mm, np.ones(len(evidence)), model)
    return [NAMES.get(int(label), "none") for label in labels]


# Against every possible answer


def chains() -> dict[tuple[int, ...], tuple[set[str], float]]:
    """Labels of every enumeration, with its variants and their probability."""
    found = {}
    for thoracic, lumbar in itertools.product(("", "T13", "no T12"), ("", "L6", "no L5")):
        variants = {thoracic, lumbar} - {""}
        absent = {"T13", "L6"} - variants | {variant[3:] for variant in variants}
        labels = [label for label in CRANIOCAUDAL if NAMES[label] not in absent]
        usual = {
            "": 1 - VARIANTS["T13"] - VARIANTS["no T12"],
            " ": 1 - VARIANTS["L6"] - VARIANTS["no L5"],
        }
        probability = (VARIANTS | usual)[thoracic] * (VARIANTS | usual)[lumbar or " "]
        found[(*labels, SACRUM)] = (variants, probability)
    return found


def probability_of(
    assignment: tuple[int | None, ...],
    chain: tuple[int, ...],
    evidence: np.ndarray,
    centres_mm: np.ndarray,
    model: SpineModel,
) -> float:
    """Probability of places in a chain (None for no vertebra), over all sizes of a person."""
    sizes = np.linspace(-2, 2, 9)
    total = -(sizes**2) / 2 - math.log(np.exp(-(sizes**2) / 2).sum())
    evidence = model.evidence_weight * evidence
    vertebrae = []
    for place, group in itertools.groupby(range(len(assignment)), lambda n: assignment[n]):
        pieces = list(group)
        if place is None:
            is_below = vertebrae and chain[vertebrae[-1][0]] == SACRUM
            left_out = model.below_sacrum if is_below else model.extra
            total = total + sum(evidence[piece, BACKGROUND] + left_out for piece in pieces)
            continue
        total = total + evidence[pieces, chain[place]].mean() + (len(pieces) - 1) * model.halved
        vertebrae.append((place, centres_mm[pieces].mean(axis=0)))
    if not vertebrae:
        return float(np.exp(total).sum())
    for (upper, a), (lower, b) in itertools.pairwise(vertebrae):
        names = [NAMES.get(label, "S1") for label in chain[upper : lower + 1]]
        usual = math.log(sum(model.step_mm[pair] for pair in itertools.pairwise(names)))
        steps = lower - upper
        deviation = math.log(np.linalg.norm(b - a)) - usual - model.size_sd * sizes
        spread = model.step_sd / math.sqrt(steps)
        total = total + stats.t.logpdf(deviation, TAILS, scale=spread)
        total = total + (steps - 1) * model.missed
    first, last = vertebrae[0][0], vertebrae[-1][0]
    total = total + model.first[chain[first]] + model.last[len(chain) - 1 - last]
    return float(np.exp(total).sum())


def is_possible(assignment: tuple[int | None, ...], centres_mm: np.ndarray) -> bool:
    """Whether levels go down, and only two near pieces have the same one."""
    places = [place for place in assignment if place is not None]
    at = {place: [n for n, one in enumerate(assignment) if one == place] for place in set(places)}
    halves = [pieces for pieces in at.values() if len(pieces) > 1]
    return places == sorted(places) and all(
        len(pieces) == 2 and pieces[1] == pieces[0] + 1 and math.dist(*centres_mm[pieces]) < 12
        for pieces in halves
    )


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_all_possible_answers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lowest = [19, 28, 20, 24, 25, SACRUM]
    pieces = 2 + seed % 2
    evidence = np.log(rng.dirichlet(np.full(NUM_CLASSES, 0.3), pieces) + 1e-6)
    # Elsewhere than about the loin nothing is likely, so that not all has to be tried.
    far = [label for label in range(NUM_CLASSES) if label not in {*lowest, BACKGROUND}]
    evidence[:, far] = -50
    gaps_mm = rng.uniform(12, 60, (pieces, 1))
    gaps_mm[1] = 11.0 if seed > 1 else gaps_mm[1]
    centres_mm = np.cumsum(gaps_mm * (0.1, 0.3, -0.9), axis=0)
    model = replace(
        NETWORK,
        halved=-1.0,
        extra_small=-1.0,
        below_sacrum=-0.3,
        missed=-1.5,
        extra=-1.0,
        first=rng.normal(0, 1, NUM_CLASSES),
        last=rng.normal(0, 1, len(CRANIOCAUDAL) + 1),
        evidence_weight=0.7,
    )
    answers: dict[tuple[int, ...], float] = defaultdict(float)
    by_variant = dict.fromkeys(VARIANTS, 0.0)
    below: dict[tuple[int, int], set[int]] = defaultdict(set)
    for chain, (variants, prior) in chains().items():
        places = [place for place, label in enumerate(chain) if label in lowest]
        for upper, lower in itertools.pairwise(chain):
            below[upper, 1].add(lower)
            below[lower, -1].add(upper)
        for assignment in itertools.product([None, *places], repeat=pieces):
            if not is_possible(assignment, centres_mm):
                continue
            value = prior * probability_of(assignment, chain, evidence, centres_mm, model)
            answers[tuple(BACKGROUND if p is None else chain[p] for p in assignment)] += value
            for variant in variants:
                by_variant[variant] += value
    total = sum(answers.values())

    found = number_levels(evidence, centres_mm, np.ones(pieces), model)
    for piece in range(pieces):
        expected = np.zeros(NUM_CLASSES)
        for answer, value in answers.items():
            expected[answer[piece]] += value / total
        np.testing.assert_allclose(found.levels[piece], expected, atol=1e-9)
    for variant, value in by_variant.items():
        assert found.variants[variant] == pytest.approx(value / total)

    def outcome(answer: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(BACKGROUND if label == SACRUM else label for label in answer)

    outcomes: dict[tuple[int, ...], float] = defaultdict(float)
    for answer, value in answers.items():
        outcomes[outcome(answer)] += value / total
    own = outcome(tuple(found.labels))
    assert found.whole == pytest.approx(outcomes[own])
    assert found.whole == pytest.approx(max(outcomes.values())), "the most probable answer"
    for down in (-1, 1):
        shifted = sum(
            value / total
            for answer, value in answers.items()
            if any(own)
            and all(
                before == BACKGROUND or after in below[before, down]
                for before, after in zip(own, answer, strict=True)
            )
        )
        assert found.shifted[down] == pytest.approx(shifted, abs=1e-12)


# Known answers


@pytest.mark.parametrize("size", [0.85, 1.0, 1.15])
@pytest.mark.parametrize("names", [THORACIC, LOIN, ["C1", "C2", "C3", "C4"], ["L3"]])
def test_labels_in_order_stay(names: list[str], size: float) -> None:
    assert decoded(evidence_for(names), centres_of(names, size)) == names


def test_halves_are_near() -> None:
    centres_mm = np.insert(centres_of(LOIN), 4, centres_of(LOIN)[3] + (0, 0, -14), axis=0)
    evidence = np.insert(evidence_for(LOIN), 4, evidence_for(["L2"])[0], axis=0)
    labels = decoded(evidence, centres_mm)
    assert labels.count("L2") == 1, "two pieces 14 mm apart are not halves"


def test_one_piece_and_none() -> None:
    alone = number_levels(evidence_for(["L3"], 0.9), np.zeros((1, 3)), np.ones(1), NETWORK)
    assert alone.labels.tolist() == [IDS["L3"]]
    assert alone.levels.sum() == pytest.approx(1)
    unhalved = replace(NETWORK, halved=-math.inf)
    same = number_levels(evidence_for(["L3"], 0.9), np.zeros((1, 3)), np.ones(1), unhalved)
    assert same.whole == pytest.approx(alone.whole)
    nothing = number_levels(np.zeros((0, NUM_CLASSES)), np.zeros((0, 3)), np.zeros(0), NETWORK)
    assert nothing.labels.shape == (0,) and nothing.whole == 1
    assert nothing.variants == pytest.approx(VARIANTS)


def test_a_crumb_is_sooner_no_vertebra_than_a_whole_one() -> None:
    centres_mm = np.insert(centres_of(LOIN), 2, (0, 30, -45), axis=0)
    evidence = np.insert(evidence_for(LOIN), 2, evidence_for(["T13"], 0.5)[0], axis=0)
    sizes = np.ones(len(evidence))
    whole = number_levels(evidence, centres_mm, sizes, NETWORK)
    sizes[2] = 0.05
    crumb = number_levels(evidence, centres_mm, sizes, NETWORK)
    assert crumb.variants["T13"] < whole.variants["T13"]


def test_the_shift_by_one_is_probable_where_nothing_anchors() -> None:
    names = ["T6", "T7", "T8"]
    evidence = np.logaddexp(evidence_for(names, 0.5), evidence_for(["T7", "T8", "T9"], 0.4))
    found = number_levels(evidence, centres_of(names), np.ones(3), NETWORK)
    assert [NAMES[label] for label in found.labels] == names
    assert 0.2 < found.shifted[1] < found.whole
    assert found.shifted[-1] < 0.1


def test_a_network_with_a_class_for_the_sacrum_is_heard() -> None:
    label_map, logits = label_map_of(["L3", "L4", "L5", "L6"])
    lowest = label_map == IDS["L6"]
    logits[:, lowest] = 0
    logits[SACRUM, lowest], logits[IDS["L6"], lowest] = 3.0, 3.5
    (change,), certainty = put_in_order(logits, label_map, CELL_MM)
    assert (change.before, change.after) == (IDS["L6"], BACKGROUND)
    assert certainty is not None and certainty.variants["L6"] < 0.5


def test_a_mix_up_of_two_is_undone() -> None:
    said = THORACIC.copy()
    said[3], said[4] = said[4], said[3]
    assert decoded(evidence_for(said, 0.6), centres_of(THORACIC)) == THORACIC


def test_a_vertebra_called_as_its_neighbour_is_renamed() -> None:
    said = THORACIC.copy()
    said[4] = "T11"
    assert decoded(evidence_for(said), centres_of(THORACIC)) == THORACIC


def test_a_shift_of_some_follows_the_rest() -> None:
    evidence = evidence_for([*THORACIC[:6], "T11", "T12", "L1"], 0.6)
    assert decoded(evidence, centres_of(THORACIC)) == THORACIC


@pytest.mark.parametrize("missed", [1, 3, 5])
def test_a_level_without_a_piece_is_skipped(missed: int) -> None:
    names = [name for n, name in enumerate(LOIN) if n != missed]
    centres_mm = np.delete(centres_of(LOIN), missed, axis=0)
    evidence = evidence_for(names, 0.5)
    # The network counts on over the gap, and is less sure of it.
    shifted = [*names[:missed], *LOIN[missed : len(names)]]
    evidence[missed:] = np.logaddexp(evidence[missed:], evidence_for(shifted, 0.4)[missed:])
    assert decoded(evidence, centres_mm) == names


def test_what_lies_between_two_vertebrae_is_none() -> None:
    centres_mm = centres_of(LOIN)
    centres_mm = np.insert(centres_mm, 3, centres_mm[2:4].mean(axis=0), axis=0)
    evidence = np.insert(evidence_for(LOIN), 3, evidence_for(["L1"], 0.3)[0], axis=0)
    evidence[3, BACKGROUND] = evidence[3, SACRUM] = math.log(0.4)
    assert decoded(evidence, centres_mm) == [*LOIN[:3], "none", *LOIN[3:]]


def test_two_halves_are_one_vertebra() -> None:
    centres_mm = centres_of(LOIN)
    halves = centres_mm[3] + np.array([[0, 0, 5.0], [0, 0, -5.0]])
    centres_mm = np.concatenate([centres_mm[:3], halves, centres_mm[4:]])
    evidence = evidence_for([*LOIN[:3], "L2", "L3", *LOIN[4:]], 0.5)
    assert decoded(evidence, centres_mm) == [*LOIN[:4], *LOIN[3:]]


@pytest.mark.parametrize(
    "names",
    [
        ["T11", "T12", "T13", "L1", "L2"],
        ["T10", "T11", "L1", "L2", "L3"],
        ["L3", "L4", "L5", "L6"],
    ],
)
def test_a_variant_stays_where_the_network_is_sure_of_it(names: list[str]) -> None:
    assert decoded(evidence_for(names, 0.9), centres_of(names)) == names


def test_an_unlikely_variant_needs_more_than_a_hint() -> None:
    evidence = evidence_for(["L2", "L3", "L4", "L6"], 0.4)
    evidence[3, IDS["L5"]] = math.log(0.35)
    assert decoded(evidence, centres_of(["L2", "L3", "L4", "L5"])) == ["L2", "L3", "L4", "L5"]


# On label maps


def label_map_of(names: list[str], height: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Blocks below each other and the logits (C, X, Y, Z) that name them."""
    z = np.rint(-centres_of(names)[:, 2] / CELL_MM[2]).astype(int)
    label_map = np.zeros((14, 14, z.max() + 20), np.uint8)
    for name, below in zip(names, z, strict=True):
        top = label_map.shape[2] - 8 - below
        label_map[4:10, 4:10, top - height : top] = IDS[name]
    logits = np.zeros((NUM_CLASSES, *label_map.shape), np.float32)
    np.put_along_axis(logits, label_map[None].astype(int), 4.0, axis=0)
    return label_map, logits


def test_a_map_in_order_is_not_touched() -> None:
    label_map, logits = label_map_of(LOIN)
    before = label_map.copy(), logits.copy()
    assert put_in_order(logits, label_map, CELL_MM)[0] == ()
    np.testing.assert_array_equal(label_map, before[0])
    np.testing.assert_array_equal(logits, before[1])


def test_an_empty_map_has_no_order() -> None:
    label_map = np.zeros((6, 6, 6), np.uint8)
    assert put_in_order(np.zeros((NUM_CLASSES, 6, 6, 6)), label_map, CELL_MM) == ((), None)


def test_renamed_vertebrae_have_the_logits_of_their_new_labels() -> None:
    truth, _ = label_map_of(LOIN)
    label_map, logits = truth.copy(), np.zeros((NUM_CLASSES, *truth.shape), np.float32)
    label_map[truth == IDS["L1"]] = IDS["L2"]
    label_map[truth == IDS["L2"]] = IDS["L1"]
    np.put_along_axis(logits, label_map[None].astype(int), 4.0, axis=0)
    volume_ml = round(6 * 6 * 5 * 4**3 / 1000, 2)
    assert put_in_order(logits, label_map, CELL_MM)[0] == (
        Change(IDS["L2"], IDS["L1"], volume_ml),
        Change(IDS["L1"], IDS["L2"], volume_ml),
    )
    np.testing.assert_array_equal(label_map, truth)
    np.testing.assert_array_equal(logits.argmax(axis=0), truth)


def test_what_is_no_vertebra_becomes_background() -> None:
    label_map, logits = label_map_of(LOIN)
    block = np.s_[4:10, 4:10, 2:5]
    label_map[block] = IDS["L6"]
    logits[:, *block] = 0
    logits[IDS["L6"], *block] = 0.5
    logits[BACKGROUND, *block] = 0.4
    (change,), _ = put_in_order(logits, label_map, CELL_MM)
    assert (change.before, change.after) == (IDS["L6"], BACKGROUND)
    assert not label_map[block].any()
    assert (logits[:, *block].argmax(axis=0) == BACKGROUND).all()
