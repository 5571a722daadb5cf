"""Vertebral body centres as files of other programs: 3D Slicer's markups, tables in mm."""

import csv
import os

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.labels import NAMES, RANK
from vertseg.core.files import atomic_path, write_json

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
"""Identifier of the markups format that 3D Slicer writes since version 5.0 and asks for."""

TABLE_COLUMNS = ("label", "name", "x_ras_mm", "y_ras_mm", "z_ras_mm", "notice")
"""Columns of a table of points: right, anterior and superior are positive."""

_BODY_CENTRE = 50
"""TPTBox's number of a vertebral body's centre, `Vertebra_Corpus`. It reads Slicer's points by
identifiers of this form, and points with identifiers 1, 2, 3 as those of vertebrae 1, 2, 3."""

_DECIMALS = 3


def write_markups(path: str | os.PathLike[str], centres_mm: Centres, notice: str = "") -> None:
    """Write points as a point list of 3D Slicer's Markups, from C1 downwards.

    Coordinates are LPS mm, the space that Slicer's own files state. The point's label is the
    vertebra's name, its identifier TPTBox's: VerSe's value and the location, such as `20-50`.

    Args:
        path: the .mrk.json file; it appears whole or not at all.
        centres_mm: world coordinates (3,) in mm (RAS+) by label value.
        notice: a word to the reader, shown as each point's description.
    """
    points = [
        {
            "id": f"{label}-{_BODY_CENTRE}",
            "label": NAMES[label],
            "description": notice,
            "position": [-x if x else 0.0, -y if y else 0.0, z],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for label, (x, y, z) in _from_head_to_foot(centres_mm)
    ]
    markup = {
        "type": "Fiducial",
        "name": "vertebrae",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": points,
    }
    write_json(path, {"@schema": MARKUPS_SCHEMA, "notice": notice, "markups": [markup]})


def write_points_table(path: str | os.PathLike[str], centres_mm: Centres, notice: str = "") -> None:
    """Write points as a CSV table in mm, from C1 downwards.

    Args:
        path: the .csv file; it appears whole or not at all.
        centres_mm: world coordinates (3,) in mm (RAS+) by label value.
        notice: a word to the reader, in each row.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        for label, point in _from_head_to_foot(centres_mm):
            writer.writerow([label, NAMES[label], *point, notice])


def _from_head_to_foot(centres_mm: Centres) -> list[tuple[int, list[float]]]:
    return [
        (label, [round(float(value), _DECIMALS) for value in centres_mm[label]])
        for label in sorted(centres_mm, key=RANK.__getitem__)
    ]
