"""Tables of the evaluation on disk, and headers of weights files."""

import json
from pathlib import Path

import numpy as np
import pytest
from html_cells import Cells
from safetensors.numpy import save_file
from small_tables import DICE, METHODS, TRAINING, scan_table

from vertseg.core.errors import UserError
from vertseg.evaluation.files import (
    read_evaluation,
    read_table,
    read_training_metadata,
    write_csv,
)
from vertseg.evaluation.pages import table_page
from vertseg.evaluation.tables import table1


def test_evaluations_are_joined(tmp_path: Path) -> None:
    scans = scan_table()
    paths = [tmp_path / f"{method}.csv" for method in DICE]
    for path in paths:
        write_csv(scans[scans["method"] == path.stem], path)
    joined = read_evaluation(paths)
    assert joined["multi_label_dice"].tolist() == DICE["ours"] + DICE["other"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.csv", "ours.csv"]


def test_names_that_look_like_numbers_or_gaps_stay_as_they_are(tmp_path: Path) -> None:
    names = dict(zip(("s0", "s1", "s2", "s3"), ("007", "NA", "1e3", "null"), strict=True))
    patients = {"p0": "NA", "p1": "01", "p2": "None"}
    plain = scan_table()
    odd = plain.assign(scan=plain["scan"].map(names), subject=plain["subject"].map(patients))
    tables = []
    for name, scans in (("plain", plain), ("odd", odd)):
        write_csv(scans, tmp_path / f"{name}.csv")
        read = read_evaluation([tmp_path / f"{name}.csv"])
        tables.append(table1(read, TRAINING, METHODS, "ours", 0))
    assert read["scan"].tolist() == [*names.values()] * 2
    assert tables[1]["n_subjects"].tolist() == [3, 3]
    np.testing.assert_array_equal(*(table["multi_label_dice_low"] for table in tables))
    odd.to_csv(tmp_path / "audit.tsv", sep="\t", index=False)
    cells = Cells(table_page(read_table(tmp_path / "audit.tsv"), "Audit")).rows
    column = cells[0].index("scan")
    assert [row[column] for row in cells[1:5]] == [*names.values()]


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
def test_other_tables_are_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "scans.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"scans\.csv"):
        read_evaluation([path])


def test_training_metadata_come_from_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "ours/fold2/weights.safetensors"
    path.parent.mkdir(parents=True)
    metadata = {"vertseg": json.dumps({"parameters": 7, "iterations": 3})}
    save_file({"w": np.zeros(7)}, path, metadata)
    (row,) = read_training_metadata([path]).to_dict("records")
    assert (row["method"], row["parameters"], row["iterations"]) == ("ours", 7, 3)
    assert np.isnan(row["epochs"])
    metadata = {"vertseg": json.dumps({"parameters": 7, "iterations": 500, "epochs": 2})}
    save_file({"w": np.zeros(7)}, path, metadata)
    assert read_training_metadata([path])["epochs"].tolist() == [2]
    save_file({"w": np.zeros(7)}, path)
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        read_training_metadata([path])
