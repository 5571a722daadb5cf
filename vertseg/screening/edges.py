"""End-plates where the CT shows them, near those of a mask."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from vertseg.screening.frames import Floats, LocalVolume
from vertseg.screening.heights import SMOOTHING_MM, EndPlates

REACH_MM = (1.5, 2.5)
"""Distances outside the mask's surface up to which an end-plate may begin, and its face may lie."""

LEVEL = 0.62
"""Level of an end-plate's outer face between soft tissue (0) and the end-plate's peak (1).

Half the height lies outside a thin shell that is blurred by more than its thickness.
"""

LEAST_SEEN = 0.7
"""Smallest share of columns in which an end-plate must stand out."""

_BEGUN = 0.5
"""Level at which an end-plate has begun, between soft tissue and the usual peak of all columns."""
_SOFT_MM = (2.0, 5.0)
"""Distances outside the mask's surface in which soft tissue is looked for."""
_STEP_MM = 0.25
_LEAST_CONTRAST_HU = 60


def plates_in_ct(local: LocalVolume, plates: EndPlates) -> EndPlates | None:
    """The end-plates of a mask, moved column by column to where the CT shows bone's outer face.

    A column's profile from the body's middle outwards rises from marrow to the end-plate and falls
    to soft tissue, the median of all columns' least HU 2 to 5 mm outside the mask. The first
    end-plate counts, since a mask may reach across a disc into the neighbour's. Its face lies where
    the profile falls below 62 % of its peak. Columns without contrast are unknown.

    Args:
        local: the vertebra along its own axes.
        plates: end-plates of the mask.

    Returns:
        None if fewer than 70 % of an end-plate's columns show it.
    """
    width = SMOOTHING_MM / local.step_mm
    smoothed = ndimage.gaussian_filter(np.nan_to_num(local.hu), (width, width, 0))
    middle = float(np.median(plates.lower + plates.upper)) / 2
    moved = []
    for plate, direction in ((plates.lower, -1), (plates.upper, 1)):
        surface = direction * (plate - middle)
        offsets = np.arange(0, max(surface.max(), 0) + _SOFT_MM[1] + _STEP_MM, _STEP_MM)
        profiles = _profiles(smoothed, local, plates, middle + direction * offsets)
        face = _face(profiles, offsets, surface)
        if np.isfinite(face).mean() < LEAST_SEEN:
            return None
        moved.append(middle + direction * face)
    return replace(plates, lower=moved[0], upper=moved[1])


def _profiles(hu: Floats, local: LocalVolume, plates: EndPlates, heights: Floats) -> Floats:
    """HU (columns, heights) at some local superior coordinates of each column."""
    shape = len(plates.right), len(heights)
    points = np.stack(
        [
            np.broadcast_to(place, shape)
            for place in (plates.right[:, None], plates.forward[:, None], heights)
        ]
    )
    points = (points - local.lower_mm[:, None, None]) / local.step_mm
    return ndimage.map_coordinates(hu, points, order=1, mode="nearest")


def _face(profiles: Floats, offsets: Floats, surface: Floats) -> Floats:
    """Distance (columns,) of the end-plate's face from the body's middle; NaN where none shows.

    Args:
        profiles: HU (columns, offsets) from the body's middle outwards.
        offsets: distances from the middle in mm.
        surface: (columns,) distance of the mask's surface from the middle in mm.
    """
    outside = offsets - surface[:, None]
    beyond = (outside >= _SOFT_MM[0]) & (outside <= _SOFT_MM[1])
    soft = float(np.median(np.where(beyond, profiles, np.inf).min(axis=1)))
    near = outside <= REACH_MM[0]
    contrast = float(np.median(np.where(near, profiles, -np.inf).max(axis=1))) - soft
    if not contrast >= _LEAST_CONTRAST_HU:
        return np.full(len(surface), np.nan)
    begun = near & (profiles >= soft + _BEGUN * contrast)
    start = np.argmax(begun, axis=1)[:, None]
    behind_start = np.arange(len(offsets)) > start
    peak = np.maximum.accumulate(
        np.where(np.arange(len(offsets)) >= start, profiles, -np.inf), axis=1
    )
    level = soft + LEVEL * (peak - soft)
    fallen = behind_start & (profiles <= level)
    behind = np.argmax(fallen, axis=1)[:, None]
    before = np.maximum(behind - 1, 0)
    inner, outer, limit = (
        np.take_along_axis(values, place, 1)[:, 0]
        for values, place in ((profiles, before), (profiles, behind), (level, behind))
    )
    part = np.divide(inner - limit, inner - outer, out=np.zeros_like(limit), where=inner > outer)
    face = offsets[before[:, 0]] + part * _STEP_MM
    seen = begun.any(axis=1) & fallen.any(axis=1) & (face - surface <= REACH_MM[1])
    return np.where(seen, face, np.nan)
