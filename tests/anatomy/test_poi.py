"""Points of interest in the forms that TPTBox writes."""

import json

import nibabel as nib
import numpy as np
import pytest

from vertseg.anatomy.centroids import read_centroids
from vertseg.core.errors import UserError

ROTATION = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
AFFINE = np.array([[0, 0, 2.0, -30], [-1, 0, 0, 40], [0, -0.5, 0, 170], [0, 0, 0, 1]])
GRID = {
    "direction": ["P", "I", "R"],
    "zoom": [1, 0.5, 2],
    "origin": [-30, 40, 170],
    "rotation": ROTATION,
    "shape": [90, 300, 40],
}
LEVELS = {"level_one_info": "Vertebra_Instance", "level_two_info": "Location"}
POINTS = {
    "T12": {"Vertebra_Corpus": [10, 20, 5], "Spinosus_Process": [60, 20, 5]},
    "L1": {"Vertebra_Corpus": [10, 80, 5.5]},
    "T13": {"50": [10, 50, 5]},
    "S1": {"Vertebra_Corpus": [10, 200, 5]},
    "L2": {"Arcus_Vertebrae": [40, 140, 5]},
}
EXPECTED = {19: [-20, 30, 160], 28: [-20, 30, 145], 20: [-19, 30, 130]}


def write(folder, *content):
    path = folder / "poi.json"
    path.write_text(json.dumps(content))
    return path


def assert_read(path, affine, expected):
    found = read_centroids(path, affine)
    assert found.keys() == expected.keys()
    for label, point in expected.items():
        np.testing.assert_allclose(found[label], point, atol=1e-9)


def test_points_lie_on_the_files_own_grid(tmp_path):
    path = write(tmp_path, GRID | LEVELS | {"format": "POI"}, POINTS)
    assert_read(path, AFFINE, EXPECTED)
    assert_read(path, np.eye(4), EXPECTED)


def test_points_without_a_grid_are_the_images_voxels(tmp_path):
    path = write(tmp_path, {"direction": ["P", "I", "R"], "format": "POI"} | LEVELS, POINTS)
    assert_read(path, AFFINE, EXPECTED)
    with pytest.raises(UserError, match=r"axes are \['R', 'A', 'S'\].*no grid of its own"):
        read_centroids(path, np.eye(4))


@pytest.mark.parametrize("system", ["nib", "itk"])
def test_points_in_the_patients_space(tmp_path, system):
    sign = np.array([-1, -1, 1]) if system == "itk" else np.ones(3)
    points = {
        name: {"Vertebra_Corpus": (sign * EXPECTED[label]).tolist()}
        for name, label in (("T12", 19), ("T13", 28), ("L1", 20))
    }
    path = write(tmp_path, {"coordinate_system": system, "format": "POI_GLOBAL"} | LEVELS, points)
    assert_read(path, AFFINE, EXPECTED)


def test_labels_with_a_location(tmp_path):
    entries = [
        {"label": 50 * 256 + 19, "X": 10, "Y": 20, "Z": 5},
        {"label": 28, "X": 10, "Y": 50, "Z": 5},
        {"label": 41 * 256 + 20, "X": 1, "Y": 1, "Z": 1},
        {"label": 50 * 256 + 20, "X": 10, "Y": 80, "Z": 5.5},
        {"label": 50 * 256 + 21, "X": float("nan"), "Y": float("nan"), "Z": float("nan")},
    ]
    assert_read(write(tmp_path, GRID | LEVELS | {"format": "docker"}, *entries), AFFINE, EXPECTED)


@pytest.mark.parametrize(
    ("header", "rest", "message"),
    [
        ({"format": "guber"}, [POINTS], "'guber'.*default form"),
        ({"format": "POI"}, [], "one object"),
        ({"format": "POI"}, [{"L1": [1, 2, 3]}], "L1 has no points"),
        ({"format": "POI"}, [{"L1": {"50": [1, 2]}}], "L1 does not hold 3 numbers"),
        ({"format": "POI", "rotation": [[0, 0, 0]] * 3}, [POINTS], "no volume"),
        ({"format": "POI", "zoom": "one"}, [POINTS], "zoom does not hold 3 numbers"),
        ({"format": "POI"}, [{"L1": {"50": [1, 2, 3]}, "20": {"50": [1, 2, 3]}}], "twice"),
        ({"format": "docker"}, [{"label": "TH1_WK", "X": 1, "Y": 2, "Z": 3}], "whole-numbered"),
    ],
)
def test_says_what_is_wrong(tmp_path, header, rest, message):
    path = write(tmp_path, GRID | LEVELS | header, *rest)
    with pytest.raises(UserError, match=message) as raised:
        read_centroids(path, AFFINE)
    assert str(path) in str(raised.value)


def test_the_grid_here_is_the_one_of_the_affine():
    own = nib.affines.from_matvec(np.array(ROTATION) * GRID["zoom"], GRID["origin"])
    np.testing.assert_allclose(own, AFFINE)
