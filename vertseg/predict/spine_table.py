"""Measures of one scan's spine as a whole as a table: a row for each value or missing value."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vertseg.core.notice import RESEARCH_USE_ONLY

COLUMNS = ("measure", "levels", "value", "left_out", "notice")
_SUMMARY = {
    "t12_l3_hu": "t12_l3_levels",
    "t12_l3_bmd_mg_cc": "t12_l3_levels",
    "l1_hu": None,
    "highest_genant_grade": "highest_genant_levels",
}
"""Field of the summary's levels by measure; L1 without one."""
_CALIBRATION = ("effective_energy_kev", "gain", "offset_hu", "residual_hu")
_SHAPE = ("cobb_deg", "thoracic_kyphosis_deg", "lumbar_lordosis_deg")
_LEVELS = {"thoracic_kyphosis_deg": "T4 T12", "lumbar_lordosis_deg": "L1 L5"}


def spine_rows(spine: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of measure (with its unit), levels and value; values left out have the reasons instead.

    Args:
        spine: `summary`, `shape` and `calibration` of a result.
    """
    summary, shape, calibration = spine["summary"], spine["shape"], spine["calibration"]
    for measure, kind in _SUMMARY.items():
        if summary[measure] is not None:
            levels = " ".join(summary[kind]) if kind else "L1"
            yield {"measure": measure, "levels": levels, "value": summary[measure]}
    for measure in _CALIBRATION:
        if calibration[measure] is not None:
            yield {"measure": measure, "value": calibration[measure]}
    if calibration["contrast_agent"] is not None:
        yield {"measure": "contrast_agent", "value": calibration["contrast_agent"]}
    for reference in calibration["references"]:
        yield {"measure": f"reference_{reference['tissue']}_hu", "value": reference["hu"]}
    for measure in _SHAPE:
        if shape[measure] is not None:
            levels = " ".join(shape["cobb_levels"]) if measure == "cobb_deg" else _LEVELS[measure]
            yield {"measure": measure, "levels": levels, "value": shape[measure]}
    for segment in shape["segments"]:
        for measure, value in segment.items():
            if measure not in ("upper", "lower") and value is not None:
                levels = f"{segment['upper']} {segment['lower']}"
                yield {"measure": measure, "levels": levels, "value": value}
    for reason in (*shape["suppressed"], *calibration["suppressed"], *summary["suppressed"]):
        yield {"left_out": reason}


def write_spine(path: Path, spine: Mapping[str, Any]) -> None:
    """Write the rows of `spine_rows` as CSV, each with the restriction to research."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in spine_rows(spine):
            writer.writerow({**row, "notice": RESEARCH_USE_ONLY})
