from dataclasses import replace
from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.dataset.samples import (
    Sample,
    check_subjects,
    listed_samples,
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


def test_linked_folders_hold_scans_too(tmp_path: Path) -> None:
    for patient in ("a", "b", "c"):
        place = "elsewhere" if patient == "b" else "root"
        stem = f"sub-{patient}/sub-{patient}"
        touch(tmp_path / place, f"rawdata/{stem}_ct.nii.gz")
        touch(tmp_path / place, f"derivatives/{stem}_seg-vert_msk.nii.gz")
    for folder in ("rawdata", "derivatives"):
        (tmp_path / "root" / folder / "sub-b").symlink_to(tmp_path / "elsewhere" / folder / "sub-b")
        (tmp_path / "root" / folder / "loop").symlink_to(tmp_path / "root")
    found = verse_samples(tmp_path / "root")
    assert [sample.subject for sample in found] == ["sub-a", "sub-b", "sub-c"]


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
        ("scan\tsubject\tct\tmask\na\tp\tc\tm\t\nb\tp\tc\tm\tz\n", "line 3 has more cells"),
        ("scan\tsubject\tct\tmask\tlabel\na\tp\tc\tm\ts\n", "'label' should be named 'labels'"),
        ("scan\tsubject\tct\tmask\tLabels\na\tp\tc\tm\ts\n", "'Labels' should be named"),
        ("scan\tsubject\tct\tmask\tmask\na\tp\tc\tm\tn\n", "several columns are named 'mask'"),
        ("scan\tsubject\tct\tmask\tcentroids \na\tp\tc\tm\ts\n", "named 'centroids'"),
    ],
)
def test_faulty_sheets_are_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sheet.tsv").write_text(text)
    with pytest.raises(UserError, match=f"sheet.tsv.*{message}"):
        read_samples(tmp_path / "sheet.tsv")
    with pytest.raises(UserError, match=r"absent\.tsv"):
        read_samples(tmp_path / "absent.tsv")


def test_other_columns_and_blank_cells_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "sheet.tsv").write_text("scan\tsubject\tct\tmask\tage\t\t\na\tp\tc\tm\t61\t\n")
    assert read_samples(tmp_path / "sheet.tsv") == [Sample("a", "p", "c", "m")]


def test_centroids_are_looked_for_in_unpacked_archives_alone(tmp_path: Path) -> None:
    """Those of a sheet for the external test are as its rows state them."""
    touch(
        tmp_path,
        "data/derivatives/sub-a/sub-a_seg-vert_msk.nii.gz",
        "data/derivatives/sub-a/sub-a_seg-subreg_ctd.json",
        "own/b_seg-vert_msk.nii.gz",
        "own/b_seg-vert_ctd.json",
    )
    archived = f"{tmp_path}/data/derivatives/sub-a/sub-a_seg-"
    listed = Sample("sub-a", "sub-a", "a_ct.nii.gz", f"{archived}vert_msk.nii.gz")
    own = [
        Sample(f"b{index}", "b", "b_ct.nii.gz", f"{tmp_path}/own/b_seg-vert_msk.nii.gz", stated)
        for index, stated in enumerate(("", "elsewhere/points.json"))
    ]
    rows = [vars(sample) for sample in (listed, *own)]
    found = listed_samples(rows, [f"{tmp_path}/data"])
    assert found == [replace(listed, centroids=f"{archived}subreg_ctd.json"), *own]
    assert listed_samples(rows, []) == [listed, *own]


def test_scans_are_left_out_by_name() -> None:
    samples = phantom_samples("data", 3)
    kept = without(samples, ["sub-phantom0002"])
    assert [sample.scan for sample in kept] == ["sub-phantom0001", "sub-phantom0003"]
    assert without(samples, []) == samples
    with pytest.raises(UserError, match="sub-phantom2"):
        without(samples, ["sub-phantom2"])
    with pytest.raises(UserError, match="leaves no scan"):
        without(samples, [sample.scan for sample in samples])


def test_cells_are_stripped(tmp_path: Path) -> None:
    (tmp_path / "sheet.tsv").write_text("scan\tsubject\tct\tmask\na\tp \tc.nii \t m.nii\n")
    assert read_samples(tmp_path / "sheet.tsv") == [Sample("a", "p", "c.nii", "m.nii")]


def test_one_patient_under_two_subjects_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "one_ct.nii.gz", "two_ct.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "one_ct.nii.gz")
    one, two, link = (str(tmp_path / f"{name}.nii.gz") for name in ("one_ct", "two_ct", "link"))
    first = Sample("a", "p01", one, "a.nii.gz")
    check_subjects([first, Sample("b", "p02", two, "b.nii.gz")])
    check_subjects([first, Sample("b", "p01", one, "a.nii.gz")])
    with pytest.raises(UserError, match="subjects p01 and P01 differ by upper and lower case"):
        check_subjects([first, Sample("b", "P01", two, "b.nii.gz")])
    with pytest.raises(UserError, match="scans a and A differ"):
        check_subjects([first, Sample("A", "p02", two, "b.nii.gz")])
    for same in (one, link, f"{tmp_path}/./one_ct.nii.gz"):
        with pytest.raises(UserError, match=r"one ct of two subjects, p01 .scan a. and p02"):
            check_subjects([first, Sample("b", "p02", same, "b.nii.gz")])
    with pytest.raises(UserError, match="one mask of two subjects"):
        check_subjects([first, Sample("b", "p02", two, "a.nii.gz")])
