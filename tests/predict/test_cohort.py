"""Cohorts: tables joined with the user's columns, changes between dates, the command itself."""

import json
from pathlib import Path

import pandas as pd
import pytest

from vertseg.cli import main
from vertseg.core.errors import UserError
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.predict import cohort
from vertseg.predict.earlier import ORIGINALS, PARTIAL_SUFFIX
from vertseg.predict.pipeline import write_failure


def write_scan(folder: Path, scan: str, hu: float, grade: int = 0) -> Path:
    """A result of two vertebrae."""
    folder.mkdir(parents=True, exist_ok=True)
    vertebrae = [
        {"label": label, "name": name, "confidence": 0.9, "trabecular_hu": hu + add,
         "bmd_mg_cc": (hu + add) / 1.25, "genant_grade": grade, "suppressed": ["x (y)"]}
        for label, name, add in ((20, "L1", 0), (21, "L2", -10))
    ]  # fmt: skip
    content = {
        "format": "vertseg-result-1", "notice": RESEARCH_USE_ONLY, "scan": scan, "status": "done",
        "source": None, "warnings": [], "verdict": "done", "vertebrae": vertebrae, "files": {},
        "summary": {"t12_l3_hu": hu - 5, "t12_l3_bmd_mg_cc": (hu - 5) / 1.25,
                    "outlier_levels": ["L2"] if hu > 200 else [], "highest_genant_grade": grade},
        "calibration": {"contrast_agent": grade > 0},
        "shape": {"cobb_deg": 12.5, "segments": [{"upper": "L1", "lower": "L2", "slip_mm": 3.4}]},
    }  # fmt: skip
    path = folder / f"{scan}_result.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write_scan(folder, "sub-a_ses-1", 150)
    write_scan(folder / "later", "sub-a_ses-2", 130)
    write_scan(folder, "sub-b", 220, grade=2)
    failed = {"format": "vertseg-result-1", "scan": "sub-c", "status": "failed", "error": "No CT."}
    (folder / "sub-c_failed.json").write_text(json.dumps(failed))
    return folder


def table_of(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_cohort_is_one_tidy_table(results: Path) -> None:
    table, failed = cohort.read_cohort([results])
    assert failed == ["sub-c"]
    assert table["scan"].value_counts().to_dict() == {
        "sub-a_ses-1": 2, "sub-a_ses-2": 2, "sub-b": 2,
    }  # fmt: skip
    rows = table.set_index(["scan", "name"])
    assert rows.loc[("sub-a_ses-2", "L2"), "trabecular_hu"] == 120
    assert rows.loc[("sub-a_ses-2", "L1"), "slip_mm"] == 3.4
    assert pd.isna(rows.loc[("sub-a_ses-2", "L2"), "slip_mm"])
    assert set(table["verdict"]) == {"done"}
    assert rows["participant_id"].tolist().count("sub-a") == 4
    assert rows["outlier"].tolist().count(True) == 1 and rows.loc[("sub-b", "L2"), "outlier"]
    assert set(rows["cobb_deg"]) == {12.5}
    contrast = table.groupby("scan")["contrast_agent"].first()
    assert contrast.to_dict() == {"sub-a_ses-1": False, "sub-a_ses-2": False, "sub-b": True}
    assert "suppressed" not in table.columns


def test_participants_columns_join_by_scan_or_subject(results: Path, tmp_path: Path) -> None:
    table, _ = cohort.read_cohort([results])
    by_subject = table_of(
        tmp_path / "p.tsv", "participant_id\tage\tsex\nsub-a\t61\tF\nsub-z\t1\tM\n"
    )
    joined = cohort.joined(table, cohort.read_participants(by_subject), by_subject)
    assert len(joined) == len(table)
    assert joined.loc[joined["participant_id"] == "sub-a", "age"].tolist() == [61] * 4
    assert joined.loc[joined["scan"] == "sub-b", "age"].isna().all()
    by_scan = table_of(tmp_path / "s.csv", "scan,date\nsub-b,2020-01-01\n")
    joined = cohort.joined(table, cohort.read_participants(by_scan), by_scan)
    assert joined.loc[joined["scan"] == "sub-b", "date"].tolist() == ["2020-01-01"] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age\n61\n", "neither a column `scan` nor `participant_id`"),
        ("participant_id\tage\nsub-a\t61\nsub-a\t62\n", "names sub-a twice"),
        ("participant_id\tage\nsub-z\t61\n", "names none of the scans"),
        ("participant_id\tvolume_ml\tcobb_deg\nsub-a\t1\t2\n", "has the name of a measure"),
        ("participant_id\tage\nsub-a\t61\nsub-b\t062Y\n", "the column age holds '062Y'"),
        ("participant_id\tdate\nsub-a\t01.03.2020\n", "the column date holds '01.03.2020'"),
        ("participant_id\tacq_time\nsub-a\t2020-13-01\n", "acq_time holds '2020-13-01'"),
    ],
)
def test_unusable_tables_of_participants_are_refused(results, tmp_path, text, message) -> None:
    table, _ = cohort.read_cohort([results])
    path = table_of(tmp_path / "p.tsv", text)
    with pytest.raises(UserError, match=message):
        cohort.joined(table, cohort.read_participants(path), path)


def test_change_between_the_first_and_the_last_date(results: Path) -> None:
    table, _ = cohort.read_cohort([results])
    dates = {"sub-a_ses-1": "2020-03-01", "sub-a_ses-2": "2022-03-01", "sub-b": "2021-01-01"}
    dated = table.assign(date=table["scan"].map(dates))
    change = cohort.changes(dated, "t12_l3_hu")
    assert change["participant_id"].tolist() == ["sub-a"]
    assert change[["before", "after", "change", "years"]].iloc[0].tolist() == [145, 125, -20, 2.0]
    assert cohort.changes(table, "t12_l3_hu").empty
    assert cohort.changes(table.assign(date="2020-03-01"), "t12_l3_hu").empty


@pytest.mark.parametrize(
    ("first", "last", "years"),
    [
        ("20200301", "20220301", 2.0),
        ("2020", "2022", 2.0),
        ("2020-03-01", "2022-03-01T10:00:00", 2.0),
        ("2020-03-01T23:00:00-05:00", "2020-03-02T04:00:00", None),
        ("n/a", "2022-03-01", None),
    ],
)
def test_dates_of_all_forms_of_iso_8601_are_read(
    results: Path, tmp_path: Path, first: str, last: str, years: float | None
) -> None:
    path = table_of(tmp_path / "p.tsv", f"scan\tdate\nsub-a_ses-1\t{first}\nsub-a_ses-2\t{last}\n")
    table = cohort.joined(cohort.read_cohort([results])[0], cohort.read_participants(path), path)
    change = cohort.changes(table, "t12_l3_hu")
    assert change["years"].tolist() == ([] if years is None else [years])


def test_scans_that_the_participants_lack_are_named_and_keep_their_subject(
    results: Path, tmp_path: Path, caplog
) -> None:
    table, _ = cohort.read_cohort([results])
    path = table_of(tmp_path / "p.tsv", "scan\tparticipant_id\nsub-a_ses-1\tanna\n")
    joined = cohort.joined(table, cohort.read_participants(path), path)
    subjects = joined.groupby("scan")["participant_id"].first()
    assert subjects.to_dict() == {"sub-a_ses-1": "anna", "sub-a_ses-2": "sub-a", "sub-b": "sub-b"}
    assert "has no row for 2 of 3 scans" in caplog.text and "sub-a_ses-2, sub-b" in caplog.text


def test_the_command_writes_table_and_figures(results: Path, tmp_path: Path) -> None:
    people = table_of(
        tmp_path / "p.tsv",
        "scan\tparticipant_id\tage\tsex\tdate\n"
        "sub-a_ses-1\tsub-a\t60\tF\t2020-03-01\nsub-a_ses-2\tsub-a\t62\tF\t2022-03-01\n"
        "sub-b\tsub-b\t70\tM\t2021-01-01\n",
    )
    output = tmp_path / "out"
    arguments = ["summarise", str(results), "--participants", str(people), "--output", str(output)]
    assert main(arguments) == 0
    names = {path.name for path in output.iterdir()}
    assert {"cohort.csv", "cohort_by_level.png", "cohort_by_age.png", "cohort_change.png"} <= names
    table = pd.read_csv(output / "cohort.csv")
    assert len(table) == 6 and set(table["sex"]) == {"F", "M"}
    change = pd.read_csv(output / "cohort_change_t12_l3_hu.csv")
    assert change["change"].tolist() == [-20]
    assert main(["summarise", str(tmp_path / "none"), "--output", str(output)]) == 2
    assert names <= {path.name for path in output.iterdir()}
    (output / "cohort.parquet").touch()
    (output / "cohort_notes.txt").touch()
    assert main(["summarise", str(results), "--output", str(output)]) == 0
    left = {path.name for path in output.iterdir()}
    assert left == {
        "cohort.csv", "cohort_by_level.pdf", "cohort_by_level.png", "cohort_notes.txt"
    }, "files of the earlier table"  # fmt: skip


def test_scans_without_vertebrae_have_a_row_and_no_figure(tmp_path: Path) -> None:
    for scan in ("sub-a", "sub-b"):
        path = write_scan(tmp_path / "results", scan, 150)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"vertebrae": []}))
    output = tmp_path / "out"
    assert main(["summarise", str(tmp_path / "results"), "--output", str(output)]) == 0
    table = pd.read_csv(output / "cohort.csv")
    assert table["scan"].tolist() == ["sub-a", "sub-b"]
    assert table[["name", "trabecular_hu"]].isna().all(axis=None)
    assert not (output / "cohort_by_level.png").exists()


def test_parquet_is_written_or_explained(results: Path, tmp_path: Path, monkeypatch) -> None:
    table, _ = cohort.read_cohort([results])
    target = tmp_path / "t.parquet"

    def without_pyarrow(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", without_pyarrow)
    with pytest.raises(UserError, match=r"needs pyarrow\. Install vertseg\[parquet\]"):
        cohort.write_table(table, target)
    assert not target.exists()


def test_two_results_of_one_scan_are_refused(results: Path) -> None:
    write_scan(results / "again", "sub-b", 100)
    with pytest.raises(UserError, match="name of one scan, sub-b"):
        cohort.read_cohort([results])


def test_one_result_of_a_corrected_scan_counts_and_none_that_is_being_written(results) -> None:
    for hidden in (f"{ORIGINALS}/sub-b", f".sub-b{PARTIAL_SUFFIX}/files"):
        write_scan(results / hidden, "sub-b", 100)
    table, _ = cohort.read_cohort([results])
    assert table.loc[table["scan"] == "sub-b", "t12_l3_hu"].tolist() == [215, 215]


def test_results_of_another_version_or_model_are_named_once(results: Path, caplog) -> None:
    def made(name: str, **origin: object) -> None:
        path = next(results.rglob(f"{name}_result.json"))
        path.write_text(json.dumps(json.loads(path.read_text()) | origin))

    shipped, own = ({"name": name, "sha256": mark * 64} for name, mark in (("x", "a"), ("y", "b")))
    for name in ("sub-a_ses-1", "sub-a_ses-2", "sub-b"):
        made(name, version="0.3.0", model=shipped)
    table, _ = cohort.read_cohort([results])
    assert not caplog.messages
    assert set(table["vertseg_version"]) == {"0.3.0"} and set(table["vertseg_model"]) == {"x"}
    made("sub-a_ses-2", version="0.2.0")
    made("sub-b", model=own, decoding="order")
    write_scan(results, "sub-d", 100)
    made("sub-d", version="0.3.0", model=shipped)
    cohort.read_cohort([results])
    [said] = caplog.messages
    assert (
        "1 of 4 scans were predicted by vertseg 0.2.0, not by vertseg 0.3.0: sub-a_ses-2." in said
    )
    assert "with the model y (bbbbbbbb), not with the model x (aaaaaaaa); with the decoding" in said
    assert said.endswith("Compare their measures with care, or predict them again (--force).")


def test_failed_scans_are_named_unless_they_have_a_result(results: Path, tmp_path: Path) -> None:
    write_failure(results / "later", "sub-d", tmp_path / "sub-d_ct.nii.gz", "No CT.")
    write_failure(results / "later", "sub-b", tmp_path / "sub-b_ct.nii.gz", "No CT.")
    assert cohort.read_cohort([results])[1] == ["sub-c", "sub-d"]
