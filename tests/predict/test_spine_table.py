"""The table of a spine's measures: what it states, and what it leaves out."""

import csv
from dataclasses import asdict
from pathlib import Path

import pytest

from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.predict.spine_table import write_spine
from vertseg.screening.density import Calibration, Reference
from vertseg.screening.shape import Segment, SpineShape
from vertseg.screening.summary import summarise


@pytest.mark.parametrize("contrast", [True, False, None])
def test_each_value_has_a_row(tmp_path: Path, contrast: bool | None) -> None:
    muscle = Reference("muscle", "beside the spine", 52.0, 50.0, 20.0)
    calibration = Calibration((muscle,), gain=1.02, contrast_agent=contrast)
    shape = SpineShape(
        cobb_deg=12.5,
        cobb_levels=("T10", "L2"),
        segments=(Segment("L1", "L2", 3.4, None, None, None, None, None),),
        suppressed=("lumbar lordosis (L5 is not in view)",),
    )
    path = tmp_path / "spine.csv"
    measured = {"summary": asdict(summarise([])), "shape": asdict(shape)}
    write_spine(path, measured | {"calibration": asdict(calibration)})
    rows = list(csv.DictReader(path.open()))
    values = {row["measure"]: (row["levels"], row["value"]) for row in rows if row["measure"]}
    expected = {
        "gain": ("", "1.02"),
        "reference_muscle_hu": ("", "52.0"),
        "cobb_deg": ("T10 L2", "12.5"),
        "slip_mm": ("L1 L2", "3.4"),
    }
    if contrast is not None:
        expected["contrast_agent"] = ("", str(contrast))
    assert values == expected
    assert [row["left_out"] for row in rows if row["left_out"]] == list(shape.suppressed)
    assert {row["notice"] for row in rows} == {RESEARCH_USE_ONLY}
