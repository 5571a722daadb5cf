"""The spine's measured shape compared with the phantom's truth."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vertseg.screening.shape import SpineShape

QUANTITIES = {
    "cobb_deg": "Cobb angle in °",
    "thoracic_kyphosis_deg": "thoracic kyphosis in °",
    "lumbar_lordosis_deg": "lumbar lordosis in °",
    "slip_mm": "slip in mm",
    "disc_height_anterior_mm": "anterior disc height in mm",
    "disc_height_middle_mm": "middle disc height in mm",
    "disc_height_posterior_mm": "posterior disc height in mm",
}
"""Compared quantities: title by field of `SpineShape` and `Segment`."""

_OF_SEGMENTS = tuple(field for field in QUANTITIES if field.endswith("_mm"))

Plate = Mapping[str, np.ndarray]
"""World points (3,) in mm on an end-plate's rim, by place."""


def compare_shape(
    scan: str, truth: Mapping[str, Any], shape: SpineShape, found: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Set the truth beside each measured value.

    The true Cobb angle is the largest one among the vertebrae between and including the first and
    the last that were measured, whichever pair was measured to have it.

    Args:
        scan: name of the scan.
        truth: description of the phantom, as the generator writes it.
        shape: the measured shape.
        found: names of the vertebrae that were found at their place; None for all.

    Returns:
        Rows of scan, quantity, levels, true, measured; values that involve a vertebra that was not
        found are left out.
    """
    plates = {
        name: {end: {place: np.array(point) for place, point in points.items()}
               for end, points in ends.items()}
        for name, ends in truth["end_plates_mm"].items()
    }  # fmt: skip
    known = plates.keys() if found is None else plates.keys() & set(found)
    rows = []

    def add(quantity: str, levels: tuple[str, ...], true: float, measured: float | None) -> None:
        if measured is not None:
            rows.append(
                {"scan": scan, "quantity": quantity, "levels": " ".join(levels), "true": true,
                 "measured": measured}
            )  # fmt: skip

    for quantity, first, last, sign in (
        ("thoracic_kyphosis_deg", "T4", "T12", 1),
        ("lumbar_lordosis_deg", "L1", "L5", -1),
    ):
        if {first, last} <= known:
            angle = _forward(plates[first]["upper"]) - _forward(plates[last]["lower"])
            add(quantity, (first, last), sign * angle, getattr(shape, quantity))
    if shape.cobb_deg is not None and set(shape.cobb_levels) <= known:
        add("cobb_deg", shape.cobb_levels, _cobb(plates, shape.cobb_run), shape.cobb_deg)
    for segment in shape.segments:
        if {segment.upper, segment.lower} <= known:
            true = _segment(plates[segment.upper]["lower"], plates[segment.lower]["upper"])
            true["disc_height_middle_mm"] += sum(
                _concavity_mm(truth["body_heights_mm"][name])
                for name in (segment.upper, segment.lower)
            )
            for field in _OF_SEGMENTS:
                levels = (segment.upper, segment.lower)
                add(field, levels, true[field], getattr(segment, field))
    return rows


def shape_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Bias and 95 % limits of agreement by quantity, over the true value's standard deviation.

    Args:
        table: rows of `compare_shape`.

    Returns:
        Columns quantity, values, scans, true_mean, true_sd, bias, lower_limit, upper_limit.
    """
    rows = []
    for quantity in QUANTITIES:
        part = table[table["quantity"] == quantity]
        differences = part["measured"] - part["true"]
        bias, deviation = differences.mean(), differences.std()
        rows.append(
            {
                "quantity": QUANTITIES[quantity],
                "values": len(part),
                "scans": part["scan"].nunique(),
                "true_mean": part["true"].mean(),
                "true_sd": part["true"].std(),
                "bias": bias,
                "lower_limit": bias - 1.96 * deviation,
                "upper_limit": bias + 1.96 * deviation,
            }
        )
    return pd.DataFrame(rows)


def _forward(plate: Plate) -> float:
    """Angle in degrees by which a plate falls towards the front, seen from the side."""
    _, y, z = plate["anterior"] - plate["posterior"]
    return float(np.rad2deg(np.arctan2(-z, y)))


def _to_the_right(plate: Plate) -> float:
    """Angle in degrees by which a plate falls towards the right, seen from the front."""
    forwards = plate["anterior"] - plate["posterior"]
    sideways = plate["right"] - plate["left"]
    # The plate's line in the plane of x and z: a mixture of both directions without a y part.
    x, _, z = sideways - forwards * sideways[1] / forwards[1]
    return float(np.rad2deg(np.arctan2(-z, x)))


def _concavity_mm(heights: Mapping[str, float]) -> float:
    """Depth of each of a body's end-plates below its rims."""
    return ((heights["anterior"] + heights["posterior"]) / 2 - heights["middle"]) / 2


def _cobb(plates: Mapping[str, Mapping[str, Plate]], run: tuple[str, ...]) -> float:
    return max(
        abs(_to_the_right(plates[first]["upper"]) - _to_the_right(plates[last]["lower"]))
        for place, first in enumerate(run)
        for last in run[place + 1 :]
    )


def _segment(above: Plate, below: Plate) -> dict[str, float]:
    """Slip and disc heights between facing plates; discs end where the end-plates' rims do."""
    forwards = below["anterior"] - below["posterior"]
    slip = (above["posterior"] - below["posterior"]) @ forwards / np.linalg.norm(forwards)
    up = np.cross(below["right"] - below["left"], forwards)
    up /= np.linalg.norm(up)
    other = np.cross(above["right"] - above["left"], above["anterior"] - above["posterior"])
    up += other / np.linalg.norm(other)
    up /= np.linalg.norm(up)
    front, back = ((above[place] - below[place]) @ up for place in ("anterior", "posterior"))
    return {
        "slip_mm": float(slip),
        "disc_height_anterior_mm": float(front),
        "disc_height_middle_mm": float((front + back) / 2),
        "disc_height_posterior_mm": float(back),
    }
