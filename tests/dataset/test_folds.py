"""Folds keep subjects whole, sizes equal and rare labels apart."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertseg.core.errors import UserError
from vertseg.dataset.folds import (
    EXTERNAL,
    assign_folds,
    check_batch,
    divide_caches,
    read_folds,
    scans_by_subject,
    write_folds,
)

VERTEBRAE = st.sets(st.sampled_from(["T12", "T13", "L5", "L6"]))


def subjects_of(subjects: list[int]) -> dict[str, str]:
    return {f"s{i:02d}": f"p{subject}" for i, subject in enumerate(subjects)}


def test_the_papers_folds() -> None:
    subject_of = subjects_of(list(range(61)))
    fold_of = assign_folds(subject_of, {scan: {"L1"} for scan in subject_of}, 3, seed=2021)
    assert sorted(Counter(fold_of.values()).values()) == [20, 20, 21]


@given(st.data(), st.integers(2, 4), st.integers(0, 9), st.randoms())
def test_folds_keep_subjects_whole_and_do_not_depend_on_order(data, number, seed, random) -> None:
    subject_of = subjects_of(data.draw(st.lists(st.integers(0, 12), min_size=12, max_size=40)))
    labels = {scan: data.draw(VERTEBRAE) for scan in subject_of}
    if len(set(subject_of.values())) < number:
        with pytest.raises(UserError, match="subjects"):
            assign_folds(subject_of, labels, number, seed)
        return
    folds = assign_folds(subject_of, labels, number, seed)
    assert list(folds) == sorted(subject_of)
    folds_of_subject: dict[str, set[int]] = {}
    for scan, subject in subject_of.items():
        folds_of_subject.setdefault(subject, set()).add(folds[scan])
    assert all(len(found) == 1 for found in folds_of_subject.values())
    assert set(folds.values()) == set(range(number))
    largest = max(Counter(subject_of.values()).values())
    sizes = Counter(folds.values()).values()
    assert max(sizes) - min(sizes) <= largest
    shuffled = list(subject_of.items())
    random.shuffle(shuffled)
    assert assign_folds(dict(shuffled), labels, number, seed) == folds


def test_a_subject_without_room_anywhere_goes_to_the_smallest_fold() -> None:
    subject_of = subjects_of([0, 0, 7, 1, 2, 4, 6, 1, 2, 3, 5, 8, 9])
    both = {"T12", "T13"}
    drawn = [(), both, both, (), (), both, both, both, {"T12"}, {"T12"}, both, both, {"T13"}]
    labels = dict(zip(subject_of, map(set, drawn), strict=True))
    sizes = Counter(assign_folds(subject_of, labels, 4, seed=0).values()).values()
    assert max(sizes) - min(sizes) <= 2


@given(st.integers(2, 5), st.integers(0, 99), st.data())
def test_the_rarest_label_is_spread_evenly(number, seed, data) -> None:
    subject_of = subjects_of(list(range(30)))
    rare = data.draw(st.sets(st.integers(0, 29), min_size=1, max_size=10))
    labels = {s: {"L1", "T13"} if i in rare else {"L1"} for i, s in enumerate(subject_of)}
    folds = assign_folds(subject_of, labels, number, seed)
    counts = [0] * number
    for index in rare:
        counts[folds[f"s{index:02d}"]] += 1
    assert max(counts) - min(counts) <= 1


def test_the_seed_draws_other_folds() -> None:
    subject_of = subjects_of(list(range(30)))
    labels = {scan: {"L1"} for scan in subject_of}
    drawn = [tuple(assign_folds(subject_of, labels, 3, seed).values()) for seed in range(4)]
    assert len(set(drawn)) == 4


def test_too_few_subjects_are_an_error() -> None:
    with pytest.raises(UserError, match="2 subjects cannot fill 3 folds"):
        scans_by_subject(subjects_of([1, 1, 1, 2]), 3)


def test_the_table_of_folds(tmp_path: Path) -> None:
    path = tmp_path / "folds.tsv"
    write_folds(path, subjects_of([5, 7, 7]), {"s00": 1, "s01": 0, "s02": 0})
    assert path.read_text().splitlines() == [
        "scan\tsubject\tfold", "s00\tp5\t1", "s01\tp7\t0", "s02\tp7\t0"
    ]  # fmt: skip
    assert read_folds(path) == {"s00": "1", "s01": "0", "s02": "0"}
    caches = [f"cache/s0{index}.safetensors" for index in range(2)]
    training, held_out = divide_caches(path, caches, "1")
    assert (training, held_out) == ([Path(caches[1])], [Path(caches[0])])
    assert divide_caches(path, ["s09.safetensors"], EXTERNAL) == ([], [Path("s09.safetensors")])
    with pytest.raises(UserError, match=r"folds\.tsv: a fold for the external s00"):
        divide_caches(path, caches[:1], EXTERNAL)
    with pytest.raises(UserError, match=r"folds\.tsv: no fold for s09"):
        divide_caches(path, ["s09.safetensors"], "1")
    table = path.read_text()
    path.write_text(table.replace("s02\tp7\t0", "s02\tp7\t1"))
    with pytest.raises(UserError, match=r"folds\.tsv: each scan .* In several folds: p7\."):
        read_folds(path)
    path.write_text(table + "s02\tp7\t0\n")
    with pytest.raises(UserError, match=r"folds\.tsv: each scan must have one row"):
        read_folds(path)
    path.write_text("scan\tsubject\ns00\tp0\n")
    with pytest.raises(UserError, match=r"folds\.tsv: not a table of folds"):
        read_folds(path)


@pytest.mark.parametrize(
    ("subjects", "number", "folds", "left"),
    [
        (range(6), 3, [0, 1, 2], 4),
        (range(5), 3, [0, 1, 2], 3),
        (range(5), 3, [2], 4),
        ([0, 0, 1, 2], 3, [0, 1, 2], 2),
        ([0, 0, 0, 0, 0, 0, 1, 2, 3], 3, [0, 1, 2], 3),
        ([0, 0, 0, 1, 2, 3], 2, [1], 5),
    ],
)
def test_a_batch_that_a_fold_cannot_fill_is_refused(subjects, number, folds, left) -> None:
    subject_of = subjects_of(list(subjects))
    check_batch(subject_of, number, folds, left, "ours")
    with pytest.raises(UserError, match=f"a batch of ours holds {left + 1} .* {left} are left"):
        check_batch(subject_of, number, folds, left + 1, "ours")


@given(st.data(), st.integers(2, 4), st.integers(0, 9))
def test_a_batch_that_every_fold_can_fill_is_not_refused(data, number, seed) -> None:
    subject_of = subjects_of(data.draw(st.lists(st.integers(0, 9), min_size=10, max_size=20)))
    if len(set(subject_of.values())) < number:
        return
    labels = {scan: data.draw(VERTEBRAE) for scan in subject_of}
    sizes = Counter(assign_folds(subject_of, labels, number, seed).values())
    folds = data.draw(st.sets(st.integers(0, number - 1), min_size=1))
    smallest = min(len(subject_of) - sizes[fold] for fold in folds)
    check_batch(subject_of, number, folds, smallest, "ours")
