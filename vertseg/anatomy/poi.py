"""Points of interest as TPTBox writes them (https://github.com/Hendrik-code/TPTBox).

Of the points of a vertebra only the body's centre counts, TPTBox's location 50, `Vertebra_Corpus`.
TPTBox's labels of vertebrae are VerSe's.
"""

import math
from collections.abc import Iterator
from typing import Any

import nibabel as nib
import numpy as np

from vertseg.anatomy.labels import IDS

_FORMATS = ("POI", "docker", "POI_GLOBAL")
_BODY_CENTRE = ("Vertebra_Corpus", "50")
_LOCATIONS = 256
"""A label of the form `docker` is the location times this number, plus the vertebra."""
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def is_poi(content: Any) -> bool:
    """Whether the content of a JSON file is one of TPTBox's points, whose header names a form."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and "format" in content[0]
        and "level_one_info" in content[0]
    )


def poi_centres(content: list[Any], affine: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Body centres of TPTBox's points.

    Points in voxels are placed by the grid that the file states, which need not be the image's; if
    it states none, by the image's affine.

    Args:
        content: the file's content, see `is_poi`.
        affine: (4, 4) voxel indices to mm (RAS+) of the image that the file belongs to.

    Returns:
        Labels and world coordinates (3,) in mm (RAS+), in the file's order; points that are not a
        vertebra's body centre are left out.

    Raises:
        ValueError: the content is of another form, or its grid is not the image's and is unknown.
    """
    header, *rest = content
    form = header["format"]
    if form not in _FORMATS:
        raise ValueError(f"points of the form {form!r}; TPTBox's default form can be read")
    found = list(_labelled(rest) if form == "docker" else _named(rest))
    if form == "POI_GLOBAL":
        to_ras = _LPS_TO_RAS if header.get("coordinate_system") == "itk" else np.ones(3)
        return [(label, point * to_ras) for label, point in found]
    own = _affine(header, affine)
    return [(label, nib.affines.apply_affine(own, point)) for label, point in found]


def _affine(header: dict[str, Any], image_affine: np.ndarray) -> np.ndarray:
    """The affine of the grid whose voxels the points count in."""
    if any(header.get(key) is None for key in ("zoom", "rotation", "origin")):
        codes = list(nib.aff2axcodes(image_affine))
        if header.get("direction") != codes:
            raise ValueError(
                f"its direction is {header.get('direction')}, but the image's axes are {codes}, "
                "and it states no grid of its own"
            )
        return image_affine
    rotation = _numbers(header["rotation"], (3, 3), "rotation")
    zoom, origin = (_numbers(header[key], (3,), key) for key in ("zoom", "origin"))
    own = nib.affines.from_matvec(rotation * zoom, origin)
    if abs(np.linalg.det(rotation)) < 0.1 or zoom.min() <= 0:
        raise ValueError("its grid has no volume")
    return own


def _named(rest: list[Any]) -> Iterator[tuple[int, np.ndarray]]:
    if len(rest) != 1 or not isinstance(rest[0], dict):
        raise ValueError("behind the header there must be one object, vertebrae by name")
    for vertebra, points in rest[0].items():
        if not isinstance(points, dict):
            raise ValueError(f"{vertebra} has no points by name")
        label = IDS.get(vertebra) or (int(vertebra) if vertebra.isdecimal() else None)
        centre = next((points[key] for key in _BODY_CENTRE if key in points), None)
        if label is not None and centre is not None:
            yield label, _numbers(centre, (3,), vertebra)


def _labelled(rest: list[Any]) -> Iterator[tuple[int, np.ndarray]]:
    for entry in rest:
        try:
            location, label = divmod(int(entry["label"]), _LOCATIONS)
            point = [entry[axis] for axis in "XYZ"]
        except (KeyError, TypeError, ValueError):
            raise ValueError("an entry without a whole-numbered label, X, Y and Z") from None
        if str(location) in ("0", *_BODY_CENTRE) and not any(map(_is_nan, point)):
            yield label, _numbers(point, (3,), f"label {label}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"{name} does not hold {' x '.join(map(str, shape))} numbers")
    return numbers
