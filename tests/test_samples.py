from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertseg.errors import UserError
from vertseg.folds import assign_folds
from vertseg.samples import (
    Sample,
    phantom_samples,
    read_samples,
    verse_samples,
    without,
    write_samples,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_verse_layout_with_its_quirks(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "rawdata/sub-verse506/sub-verse506_dir-iso_ct.nii.gz",
        "rawdata/sub-verse506/._sub-verse506_dir-iso_ct.nii.gz",
        "derivatives/sub-verse506/sub-verse506_dir-iso_seg-vert_msk.nii.gz",
        "derivatives/sub-verse506/sub-verse506_dir-iso_seg-subreg_ctd.json",
        "rawdata/sub-verse401/sub-verse401_split-verse201_ct.nii.gz",
        "rawdata/sub-verse401/sub-verse401_split-verse253_ct.nii.gz",
        "derivatives/sub-verse401/sub-verse401_split-verse201_seg-vert_msk.nii.gz",
        "derivatives/sub-verse401/sub-verse401_split-verse201_seg-vb_ctd.json",
        "derivatives/sub-verse401/sub-verse401_split-verse253_seg-vert_msk.nii.gz",
    )
    by_name = {sample.scan: sample for sample in verse_samples(tmp_path)}
    assert sorted(by_name) == [
        "sub-verse401_split-verse201",
        "sub-verse401_split-verse253",
        "sub-verse506_dir-iso",
    ]
    assert by_name["sub-verse401_split-verse253"].subject == "sub-verse401"
    assert by_name["sub-verse401_split-verse253"].centroids == ""
    assert by_name["sub-verse506_dir-iso"].centroids.endswith("dir-iso_seg-subreg_ctd.json")


def test_scans_without_mask_are_all_named(tmp_path: Path) -> None:
    touch(tmp_path, "rawdata/sub-a/sub-a_ct.nii.gz", "rawdata/sub-b/sub-b_ct.nii.gz")
    with pytest.raises(UserError, match=r"(?s)sub-a_seg.*sub-b_seg"):
        verse_samples(tmp_path)
    with pytest.raises(UserError, match=r"data\.root"):
        verse_samples(tmp_path / "nothing")


def test_sheet_round_trip(tmp_path: Path) -> None:
    samples = [*phantom_samples("data", 2), Sample("x", "p", "x.nii.gz", "y.nii.gz")]
    write_samples(tmp_path / "samples.tsv", samples)
    assert read_samples(tmp_path / "samples.tsv") == samples


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("scan\tsubject\tct\tmask\n", "no rows"),
        ("scan\tct\na\tb\n", "columns subject, mask are missing"),
        ("scan\tsubject\tct\tmask\na\tp\tc\tm\na\tp\tc\tm\n", "more than once: a"),
        ("scan\tsubject\tct\tmask\na\tp\t\tm\n", "line 2"),
        ("scan\tsubject\tct\tmask\na\tp\n", "line 2"),
    ],
)
def test_faulty_sheets_are_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sheet.tsv").write_text(text)
    with pytest.raises(UserError, match=f"sheet.tsv.*{message}"):
        read_samples(tmp_path / "sheet.tsv")
    with pytest.raises(UserError, match=r"absent\.tsv"):
        read_samples(tmp_path / "absent.tsv")


def test_the_papers_folds() -> None:
    fold_of = assign_folds(phantom_samples("data", 61), 3, seed=2021)
    assert sorted(Counter(fold_of.values()).values()) == [20, 20, 21]


@given(
    st.lists(st.integers(0, 12), min_size=12, max_size=40),
    st.integers(2, 4),
    st.integers(0, 9),
    st.randoms(),
)
def test_folds_keep_subjects_whole_and_do_not_depend_on_order(
    subject_ids, number, seed, random
) -> None:
    samples = [Sample(f"s{i:02d}", f"p{subject}", "", "") for i, subject in enumerate(subject_ids)]
    if len({sample.subject for sample in samples}) < number:
        with pytest.raises(UserError, match="subjects"):
            assign_folds(samples, number, seed)
        return
    folds = assign_folds(samples, number, seed)
    assert list(folds) == sorted(sample.scan for sample in samples)
    folds_of_subject: dict[str, set[int]] = {}
    for sample in samples:
        folds_of_subject.setdefault(sample.subject, set()).add(folds[sample.scan])
    assert all(len(found) == 1 for found in folds_of_subject.values())
    assert set(folds.values()) == set(range(number))
    largest = max(Counter(sample.subject for sample in samples).values())
    sizes = Counter(folds.values()).values()
    assert max(sizes) - min(sizes) <= largest
    random.shuffle(samples)
    assert assign_folds(samples, number, seed) == folds


def test_scans_are_left_out_by_name() -> None:
    samples = phantom_samples("data", 3)
    kept = without(samples, ["sub-phantom0002"])
    assert [sample.scan for sample in kept] == ["sub-phantom0001", "sub-phantom0003"]
    assert without(samples, []) == samples
    with pytest.raises(UserError, match="sub-phantom2"):
        without(samples, ["sub-phantom2"])
    with pytest.raises(UserError, match="leaves no scan"):
        without(samples, [sample.scan for sample in samples])
