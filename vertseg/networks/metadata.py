"""Checks of a model file's metadata and weights, the same for every runtime; needs no runtime."""

import json
import math
import os
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from vertseg.anatomy.labels import NUM_CLASSES, SACRUM
from vertseg.core.errors import UserError

FORMAT = "vertseg-weights-1"
"""Name and version of the format of networks' weights and metadata."""

CELLS = (8, 1024)
"""Smallest and largest number of cells of a grid or crop along an axis."""

MOST_CELLS = 1 << 24
"""Largest number of cells of a grid, that of 256 along each axis."""

MOST_CROP_CELLS = 1 << 22
"""Largest number of cells of a crop, on which a network is tried: 1.5 GB of activations."""

AUXILIARY = {"centres": 1, "offsets": 3}
"""Channels of the outputs that a network may have beside its classes, in their order.

centres: logit of a map that is 1 at the centres of vertebral bodies; offsets: from each cell along
x, y and z to the centre of its own vertebra's body, in units of `OFFSET_CELLS`.
"""

OFFSET_CELLS = 4.0
"""Unit of predicted offsets in cells."""

SPACING_MM = (0.5, 20.0)
"""Smallest and largest size of a cell. Finer ones would ask for hundreds of GB for a scan."""

_LARGEST_MM = 1e5
_MOST_RATES, _LARGEST_RATE = 16, 256


def parse_metadata(path: str | os.PathLike[str], text: str) -> dict[str, Any]:
    """The metadata of a model file, complete and within bounds.

    `format`, `num_classes` and `settings` with `grid` and `crop` are needed; `training_range`,
    `options`, `auxiliary` (outputs beside the classes) and `sacrum` (whether the network has
    learned it) may be absent.

    Raises:
        UserError: they are not JSON, of another format, incomplete or out of bounds.
    """
    metadata = metadata_of_format(path, text, FORMAT)
    if fault := _fault(metadata):
        raise UserError(f"{path}: its metadata are unfit: {fault}. Train or download it again.")
    return metadata


def metadata_of_format(path: str | os.PathLike[str], text: str, file_format: str) -> dict[str, Any]:
    """The metadata of a file of weights, whose values are not checked.

    Raises:
        UserError: they are not JSON or of another format.
    """
    try:
        metadata = json.loads(text)
        found = metadata.get("format")
    except (AttributeError, ValueError, RecursionError):
        metadata, found = {}, None
    if found != file_format:
        raise UserError(
            f"{path}: not weights of the format {file_format}"
            + (f", but of {found}." if found else ".")
        )
    return metadata


def output_channels(num_classes: int, auxiliary: Sequence[str]) -> int:
    """Output channels of a network: its classes, then its auxiliary outputs."""
    return num_classes + sum(AUXILIARY[name] for name in auxiliary)


def auxiliary_slices(num_classes: int, auxiliary: Sequence[str]) -> dict[str, slice]:
    """Channels of each auxiliary output of a network."""
    slices = {}
    start = num_classes
    for name in auxiliary:
        slices[name] = slice(start, start + AUXILIARY[name])
        start += AUXILIARY[name]
    return slices


def array_fault(name: str, values: np.ndarray, rank: int) -> str | None:
    """Fault of one array of weights: not finite or, in a convolution, all 0; or None.

    Args:
        name: of the array.
        values: of any shape.
        rank: number of the array's axes; convolutions have 5.
    """
    if not np.isfinite(values).all():
        return f"the weights {name} hold values that are not finite"
    return f"the weights {name} are all 0" if rank == 5 and not values.any() else None


def _fault(metadata: dict[str, Any]) -> str | None:
    settings = metadata.get("settings")
    if not isinstance(settings, dict) or not {"grid", "crop"} <= settings.keys():
        return "settings with grid and crop are missing"
    if not _is_whole(metadata.get("num_classes"), 2, NUM_CLASSES):
        return f"num_classes is {metadata.get('num_classes')}, not a number from 2 to {NUM_CLASSES}"
    grid, crop = settings["grid"], settings["crop"]
    if isinstance(grid, dict):
        if grid.keys() != {"spacing_mm"} or not _is_number(grid["spacing_mm"], *SPACING_MM):
            low, high = SPACING_MM
            return f"the grid is {_short(grid)}, not cells (spacing_mm) of {low:g} to {high:g} mm"
    elif not _are_cells(grid):
        return f"the grid is {_short(grid)}, {_NO_CELLS}, {MOST_CELLS} in all"
    if crop is not None and not (_are_cells(crop) and math.prod(crop) <= MOST_CROP_CELLS):
        return f"the crop is {_short(crop)}, {_NO_CELLS}, {MOST_CROP_CELLS} in all"
    if metadata.get("training_range") is not None and not _is_range(metadata["training_range"]):
        return "training_range lacks least and largest spacing_mm or extent_mm along three axes"
    auxiliary = metadata.get("auxiliary", [])
    if not isinstance(auxiliary, list) or auxiliary not in _AUXILIARY_CHOICES:
        return f"auxiliary is {_short(auxiliary)}, not some of {', '.join(AUXILIARY)} in this order"
    sacrum = metadata.get("sacrum", False)
    if not isinstance(sacrum, bool) or (sacrum and metadata["num_classes"] <= SACRUM):
        return f"sacrum is {_short(sacrum)}, not true or false, or there is no class for it"
    options = metadata.get("options", {})
    if not isinstance(options, dict) or not _are_rates(options.get("aspp_rates", [])):
        return f"the options are {_short(options)}, whose aspp_rates must lie in 1..{_LARGEST_RATE}"
    return None


_AUXILIARY_CHOICES: list[list[str]] = [
    list(some) for count in range(3) for some in combinations(AUXILIARY, count)
]

_NO_CELLS = f"not three numbers of {CELLS[0]} to {CELLS[1]} cells"


def _are_cells(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_whole(cells, *CELLS) for cells in value)
        and math.prod(value) <= MOST_CELLS
    )


def _is_range(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(ends := value.get(key), list)
        and len(ends) == 2
        and all(isinstance(end, list) and len(end) == 3 for end in ends)
        and all(_is_number(one, 0, _LARGEST_MM) for end in ends for one in end)
        and all(low <= high for low, high in zip(*ends, strict=True))
        for key in ("spacing_mm", "extent_mm")
    )


def _are_rates(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MOST_RATES
        and all(_is_whole(rate, 1, _LARGEST_RATE) for rate in value)
    )


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a finite number within bounds; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
