"""Tables of the evaluation on disk, and headers of weights files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_tables import DICE, scan_table

from vertseg.core.errors import UserError
from vertseg.evaluation.files import read_evaluation, read_training_metadata, write_csv


def test_evaluations_are_joined(tmp_path: Path) -> None:
    scans = scan_table()
    paths = [tmp_path / f"{method}.csv" for method in DICE]
    for path in paths:
        write_csv(scans[scans["method"] == path.stem], path)
    joined = read_evaluation(paths)
    assert joined["multi_label_dice"].tolist() == DICE["ours"] + DICE["other"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.csv", "ours.csv"]


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
