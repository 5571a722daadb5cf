"""Positions of slices that were rounded to whole mm, as some de-identification does.

Rounding is certain if the header still states a slice spacing with which all slices of the stack
can lie evenly: no position is then off by more than half a mm. A missing slice would shift all
that follow by a whole spacing, which is more than rounding can hide.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vertseg.scans.dicom.stack import Frame

FEWEST = 5
"""Smallest number of slices that show that they were rounded."""
LEAST_SPACING_MM = 1.0
"""Slices less than this apart can have one rounded position."""
_EXACT_MM = 1e-6


def unrounded(frames: Sequence[Frame]) -> list[Frame] | None:
    """Slices at even places that round to the positions that they state.

    Args:
        frames: the slices of a series, in any order.

    Returns:
        The slices in order, at the middle of the places that fit; None if nothing shows that
        positions were rounded, or if they are even as they are.
    """
    spacings = {frame.stated_spacing_mm for frame in frames}
    spacing = spacings.pop()
    if len(frames) < FEWEST or spacings or spacing is None or spacing <= LEAST_SPACING_MM:
        return None
    normal = frames[0].normal
    ordered = sorted(frames, key=lambda frame: float(frame.position_mm @ normal))
    positions = np.array([frame.position_mm for frame in ordered])
    moves = np.ptp(positions, axis=0) > _EXACT_MM
    if np.abs(positions - np.rint(positions))[:, moves].max(initial=0) > _EXACT_MM:
        return None
    steps = np.arange(len(ordered))[:, None] * spacing * normal
    starts = positions - steps
    if not _EXACT_MM < np.ptp(starts, axis=0).max() <= 1 + _EXACT_MM:
        return None
    places = (starts.min(axis=0) + starts.max(axis=0)) / 2 + steps
    return [replace(frame, position_mm=place) for frame, place in zip(ordered, places, strict=True)]
