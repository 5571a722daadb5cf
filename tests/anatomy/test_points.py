"""Points as other programs read them."""

import csv
import json
import re

import numpy as np
from jsonschema import Draft7Validator

from vertseg.anatomy.points import write_markups, write_points_table

CENTRES = {20: np.array([1.23456, -2, 30]), 28: np.array([0.0, 0, 50]), 19: np.array([4.0, 5, 60])}

NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
MARKUPS = {
    "type": "object",
    "required": ["@schema", "markups"],
    "properties": {
        "@schema": {"pattern": r"markups-schema-v1\.[0-9]+\.[0-9]+\.json#*$"},
        "markups": {
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "required": ["type", "coordinateSystem", "coordinateUnits", "controlPoints"],
                "properties": {
                    "type": {"const": "Fiducial"},
                    "coordinateSystem": {"const": "LPS"},
                    "coordinateUnits": {"const": "mm"},
                    "controlPoints": {
                        "items": {
                            "required": ["id", "label", "position", "positionStatus"],
                            "properties": {
                                "id": {"type": "string"},
                                "label": {"type": "string"},
                                "description": {"type": "string"},
                                "position": NUMBERS,
                                "selected": {"type": "boolean"},
                                "locked": {"type": "boolean"},
                                "visibility": {"type": "boolean"},
                                "positionStatus": {"enum": ["undefined", "preview", "defined"]},
                            },
                        }
                    },
                },
            },
        },
    },
}
"""What 3D Slicer's reader and its schema 1.0.3 ask of a point list."""


def test_markups_are_what_slicer_reads(tmp_path):
    path = tmp_path / "points.mrk.json"
    write_markups(path, CENTRES, "for tests")
    content = json.loads(path.read_text())
    Draft7Validator(MARKUPS).validate(content)
    points = content["markups"][0]["controlPoints"]
    assert [(point["label"], point["position"]) for point in points] == [
        ("T12", [-4.0, -5.0, 60.0]),
        ("T13", [0.0, 0.0, 50.0]),
        ("L1", [-1.235, 2.0, 30.0]),
    ]
    assert [point["id"] for point in points] == ["19-50", "28-50", "20-50"]  # TPTBox's keys
    assert {point["description"] for point in points} == {"for tests"}
    assert not re.search(r"-0\.0\b", path.read_text())


def test_a_scan_without_vertebrae_has_an_empty_list(tmp_path):
    write_markups(tmp_path / "points.mrk.json", {})
    content = json.loads((tmp_path / "points.mrk.json").read_text())
    Draft7Validator(MARKUPS).validate(content)
    assert content["markups"][0]["controlPoints"] == []
    write_points_table(tmp_path / "points.csv", {})
    assert list(csv.DictReader((tmp_path / "points.csv").open())) == []


def test_a_table_states_space_and_units(tmp_path):
    path = tmp_path / "points.csv"
    write_points_table(path, CENTRES, "for tests, alone")
    rows = list(csv.DictReader(path.open()))
    assert [row["name"] for row in rows] == ["T12", "T13", "L1"]
    assert rows[2] == {
        "label": "20",
        "name": "L1",
        "x_ras_mm": "1.235",
        "y_ras_mm": "-2.0",
        "z_ras_mm": "30.0",
        "notice": "for tests, alone",
    }
