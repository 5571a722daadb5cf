"""Published densities and strengths of VerSe'19 scans."""

from pathlib import Path

import pandas as pd
import pytest

from vertseg.core.errors import UserError
from vertseg.evaluation.published import (
    compare_densities,
    compare_strengths,
    read_published,
    scan_number,
)
from vertseg.figures.published import draw_published

TABLE = """verse_ID,BMD_assessment,Phantomless Calibration vBMD [mg/cc],R.Force 0.2% L1 [kN],\
R.Force 0.2% L2 [kN],R.Force 0.2% L6 [kN]
14.0,"L1, L2",110.0,5.0,4.0,
400.0,"T12, L1",60.0,2.0,1.2e-05,
,L1,,,,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "verse19fem_AppendixA.csv"
    path.write_text(TABLE)
    return path


def test_densities_are_means_of_the_assessed_levels(table: Path) -> None:
    published, strengths = read_published(table)
    assert strengths.set_index(["number", "name"])["strength_kn"].to_dict() == {
        (14, "L1"): 5.0, (400, "L1"): 2.0, (14, "L2"): 4.0,
    }  # fmt: skip
    vertebrae = pd.DataFrame(
        {
            "scan": ["sub-verse014"] * 3 + ["sub-verse400", "sub-verse400", "sub-gl003"],
            "name": ["L1", "L2", "L3", "L1", "L2", "L1"],
            "bmd_mg_cc": [130.0, 110, 500, 70, 20, 90],
        }
    )
    rows = compare_densities(vertebrae, published).set_index("number")
    assert rows["measured_mg_cc"].to_dict() == {14: 120.0, 400: 70.0}
    assert rows.loc[14, "measured_levels"] == "L1 L2" and rows.loc[400, "measured_levels"] == "L1"
    levels, correlation = compare_strengths(vertebrae, strengths)
    assert len(levels) == 3 and correlation == pytest.approx(1.0)
    figure = draw_published(rows.reset_index(), levels, correlation)
    assert "bias +10.0" in figure.axes[0].get_title(loc="left")


def test_scans_are_known_by_their_number() -> None:
    names = ["sub-verse014", "verse4_ct", "sub-verse0500_split-x", "patient"]
    assert [scan_number(name) for name in names] == [14, 4, 500, None]


def test_nothing_published_or_measured_gives_empty_tables(table: Path) -> None:
    published, strengths = read_published(table)
    vertebrae = pd.DataFrame({"scan": ["a"], "name": ["L1"], "bmd_mg_cc": [None]})
    assert compare_densities(vertebrae, published).empty
    levels, correlation = compare_strengths(vertebrae, strengths)
    assert levels.empty and correlation != correlation


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not verse19fem_AppendixA\.csv"):
        read_published(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_published(tmp_path / "missing.csv")
