"""End-plates where the CT shows them, near those of a mask."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from vertseg.screening.frames import Floats, LocalVolume
from vertseg.screening.heights import EndPlates

REACH_MM = (2.5, 1.5)
"""Distance within which an end-plate is looked for below the mask's surface, and above it."""

LEVEL = 0.62
"""Level of an end-plate's outer face between soft tissue (0) and the end-plate's peak (1).

Half the height lies outside a thin shell that is blurred by more than its thickness.
"""

LEAST_SEEN = 0.8
"""Smallest share of columns in which an end-plate must stand out."""

_SMOOTHING_MM = 2.0
_PROFILE_MM, _STEP_MM = 5.0, 0.25
_SOFT_MM = 2.0
_LEAST_CONTRAST_HU = 60
_OFFSETS_MM = np.arange(-_PROFILE_MM, _PROFILE_MM + _STEP_MM / 2, _STEP_MM)


def plates_in_ct(local: LocalVolume, plates: EndPlates) -> EndPlates | None:
    """The end-plates of a mask, moved column by column to where the CT shows bone's outer face.

    A column's profile across an end-plate rises from soft tissue, the median of all columns' least
    HU 2 to 5 mm outside the mask, to a peak near the mask's surface. The face lies where the
    profile falls below 62 % of that peak. Columns without contrast are unknown.

    Args:
        local: the vertebra along its own axes.
        plates: end-plates of the mask.

    Returns:
        None if fewer than 80 % of an end-plate's columns show it.
    """
    width = _SMOOTHING_MM / local.step_mm
    smoothed = ndimage.gaussian_filter(np.nan_to_num(local.hu), (width, width, 0))
    moved = []
    for plate, direction in ((plates.lower, -1), (plates.upper, 1)):
        shift = _shift(_profiles(smoothed, local, plates, plate, direction))
        if np.isfinite(shift).mean() < LEAST_SEEN:
            return None
        moved.append(plate + direction * shift)
    return replace(plates, lower=moved[0], upper=moved[1])


def _profiles(
    hu: Floats, local: LocalVolume, plates: EndPlates, plate: Floats, direction: int
) -> Floats:
    """HU (columns, offsets) outwards across one end-plate."""
    heights = plate[:, None] + direction * _OFFSETS_MM
    right, forward = (
        np.broadcast_to(place[:, None], heights.shape) for place in (plates.right, plates.forward)
    )
    points = np.stack([right, forward, heights]) - local.lower_mm[:, None, None]
    return ndimage.map_coordinates(hu, points / local.step_mm, order=1, mode="nearest")


def _shift(profiles: Floats) -> Floats:
    """Distance (columns,) outwards from the mask's surface to the face; NaN where none shows."""
    offsets = _OFFSETS_MM
    near = (offsets >= -REACH_MM[0]) & (offsets <= REACH_MM[1])
    soft = np.median(profiles[:, offsets >= _SOFT_MM].min(axis=1))
    at_peak = np.flatnonzero(near)[0] + np.argmax(profiles[:, near], axis=1)
    peak = np.take_along_axis(profiles, at_peak[:, None], 1)[:, 0]
    level = soft + LEVEL * (peak - soft)
    fallen = (profiles <= level[:, None]) & (np.arange(len(offsets)) > at_peak[:, None])
    behind = np.argmax(fallen, axis=1)
    seen = fallen.any(axis=1) & (peak - soft >= _LEAST_CONTRAST_HU)
    before = np.maximum(behind - 1, 0)
    inner, outer = (
        np.take_along_axis(profiles, place[:, None], 1)[:, 0] for place in (before, behind)
    )
    part = np.divide(inner - level, inner - outer, out=np.zeros_like(level), where=inner > outer)
    shift = offsets[before] + part * _STEP_MM
    return np.where(seen & (shift >= -REACH_MM[0]) & (shift <= REACH_MM[0]), shift, np.nan)
