"""End-plates where the CT shows them, near those of a mask."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.screening.frames import Floats, LocalVolume
from vertseg.screening.heights import SMOOTHING_MM, EndPlates

LEVEL = 0.62
"""Level of an end-plate's outer face between soft tissue (0) and the end-plate's peak (1).

Half the height lies outside a thin shell that is blurred by more than its thickness.
"""

LEAST_SEEN = 0.7
"""Smallest share of columns in which an end-plate must stand out."""

REACH_MM = 7.0
"""Distance outside the mask's surface up to which an end-plate may lie: a disc and a bit more."""

LEAST_OVERLAP = 0.5
"""Smallest overlap, over union, of a mask's height and that between the end-plates."""

CLEAR, UNCLEAR = 0.5, 0.33
"""Shares of the greatest step of HU from which a step surely, and perhaps, is an end-plate's."""

FAINT = 0.2
"""Smallest share of that step by which HU rise from marrow to an end-plate."""

THICKEST_PLATE_MM = 5.0
"""Largest distance of an end-plate's outer face from its inner one, blur included.

A pair of end-plates with a thin disc between them, which thick slices do not show, is thicker.
"""

_NEAR_MM = (3.5, 1.0)
"""Distances inside and outside an end-plate's plane within which its peak may lie in a column."""
_FARTHEST_MM = 2.0
"""Largest distance of an end-plate's face outside its plane."""
_BEHIND_MM = 4.0
"""Distance outside an end-plate's plane within which soft tissue is looked for."""
_BEGUN = 0.35
"""Level that an end-plate reaches in a column, between soft tissue and the usual peak."""
_STEP_MM = 0.25
_LEAST_CONTRAST_HU = 60

_SLOPES = np.arange(-5, 6) * 0.06
"""Slopes of planes that are tried, to the right and forwards."""
_CENTRAL = 0.36
"""Reach of the columns that show a plane to either side, in widths and depths of the body."""
_COLUMN_MM, _PLANE_STEP_MM = 3.0, 0.5
"""Distances of these columns, and of the planes that are tried."""
_PART_MM = 2.0
"""Length of the parts of a profile on either side of a step whose means are compared."""
_FIRST_MM = 3.0
"""Least distance of an end-plate from the body's middle; cement, say, has edges before."""
_THINNEST_MM, _DISC_MM = 3.0, 8.0
"""Distances inside an end-plate between which another might be the body's own, across a disc."""


@dataclass(frozen=True)
class Plane:
    """A plane near an end-plate.

    Attributes:
        right: local right coordinate of its middle, mm.
        forward: local anterior coordinate of its middle, mm.
        height: local superior coordinate of its middle, mm.
        slopes: (2,) slopes to the right and forwards.
    """

    right: float
    forward: float
    height: float
    slopes: Floats

    def at(self, plates: EndPlates) -> Floats:
        """Local superior coordinate (columns,) in mm."""
        across = np.stack([plates.right - self.right, plates.forward - self.forward], axis=1)
        return self.height + across @ self.slopes


@dataclass(frozen=True)
class ClearPlanes:
    """Planes near both end-plates of a body, and the smoothed HU in which they were found."""

    lower: Plane
    upper: Plane
    hu: Floats


def planes_in_ct(local: LocalVolume, plates: EndPlates) -> ClearPlanes | None:
    """Planes near the lower and the upper end-plate of a body, found in the CT.

    Outlines may reach across a disc into the neighbour's end-plate, or end before the body's own.
    From the body's middle outwards, HU rise into the end-plate, fall to the disc, rise into the
    neighbour's end-plate and fall to its marrow, in the mean of columns across a plane of some
    tilt. The plane is that of the first fall of at least half the greatest step, which leaves room
    for marrow before it.

    Args:
        local: the vertebra along its own axes.
        plates: end-plates of the mask.

    Returns:
        None unless both are clear: without a lesser fall before, across which a disc might lie;
        with a rise close before, and none that would belong to another end-plate; and with a
        distance between both that agrees with the mask.
    """
    hu = _smoothed(local)
    middle = float(np.median(plates.lower + plates.upper)) / 2
    found = []
    for plate, direction in ((plates.lower, -1), (plates.upper, 1)):
        surface = float(np.median(direction * (plate - middle)))
        plane = _plane(hu, local, plates, middle, direction, surface + REACH_MM)
        if plane is None:
            return None
        found.append(plane)
    lower, upper = found
    mask_low, mask_high = float(np.median(plates.lower)), float(np.median(plates.upper))
    common = min(upper.height, mask_high) - max(lower.height, mask_low)
    union = max(upper.height, mask_high) - min(lower.height, mask_low)
    return ClearPlanes(lower, upper, hu) if common >= LEAST_OVERLAP * union else None


def plates_in_ct(local: LocalVolume, plates: EndPlates, planes: ClearPlanes) -> EndPlates | None:
    """The end-plates of a body, found in the CT column by column near their planes.

    Each column is followed from its peak near the plane outwards to where it falls below 62 % of
    the way from soft tissue, the median of all columns' least HU behind the plane, to the peak.
    Columns without such an edge are unknown.

    Args:
        local: the vertebra along its own axes.
        plates: end-plates of the mask.
        planes: of `planes_in_ct` for these end-plates.

    Returns:
        None if fewer than 70 % of an end-plate's columns show it.
    """
    moved = []
    for plane, direction in ((planes.lower, -1), (planes.upper, 1)):
        base = plane.at(plates)
        outside = np.arange(-_NEAR_MM[0], _BEHIND_MM + _STEP_MM / 2, _STEP_MM)
        heights = base[:, None] + direction * outside
        face = _face(_profiles(planes.hu, local, plates, heights), outside)
        if np.isfinite(face).mean() < LEAST_SEEN:
            return None
        moved.append(base + direction * face)
    return replace(plates, lower=moved[0], upper=moved[1])


def _smoothed(local: LocalVolume) -> Floats:
    """HU smoothed across columns, the last known value of each column beyond the scan."""
    hu = local.hu
    for way in (1, -1):
        part = hu[:, :, ::way]
        known = np.where(np.isfinite(part), np.arange(part.shape[2]), 0)
        last = np.maximum.accumulate(known, axis=2)
        hu = np.take_along_axis(part, last, axis=2)[:, :, ::way]
    width = SMOOTHING_MM / local.step_mm
    return ndimage.gaussian_filter(np.nan_to_num(hu), (width, width, 0))


def _profiles(hu: Floats, local: LocalVolume, plates: EndPlates, heights: Floats) -> Floats:
    """HU (columns, heights) at local superior coordinates (columns or 1, heights)."""
    points = np.stack(np.broadcast_arrays(plates.right[:, None], plates.forward[:, None], heights))
    points = (points - local.lower_mm[:, None, None]) / local.step_mm
    return ndimage.map_coordinates(hu, points, order=1, mode="nearest")


def _plane(
    hu: Floats,
    local: LocalVolume,
    plates: EndPlates,
    middle: float,
    direction: int,
    farthest: float,
) -> Plane | None:
    """Plane of the end-plate in one direction.

    Args:
        hu: smoothed HU on the grid of the local volume.
        local: the vertebra along its own axes.
        plates: end-plates of the mask.
        middle: local superior coordinate of the body's middle, mm.
        direction: 1 upwards, -1 downwards.
        farthest: largest distance of the plane from the middle, mm.

    Returns:
        None if no plane, or more than one, might be that of the end-plate.
    """
    centre = [(place.min() + place.max()) / 2 for place in (plates.right, plates.forward)]
    chosen = _lattice(plates)
    if not chosen.any():
        return None
    columns = replace(
        plates,
        **{name: getattr(plates, name)[chosen] for name in ("right", "forward", "lower", "upper")},
    )
    offsets = np.arange(0, max(farthest, 0) + _DISC_MM, _PLANE_STEP_MM)
    steps = _steps(_profiles(hu, local, columns, (middle + direction * offsets)[None]))
    across = np.stack([columns.right - centre[0], columns.forward - centre[1]], axis=1)
    falls, rises, slopes = _over_planes(steps, across)
    place = _clear_fall(falls, rises, offsets, farthest)
    if place is None:
        return None
    height = middle + direction * float(offsets[place])
    return Plane(float(centre[0]), float(centre[1]), height, direction * slopes[place])


def _clear_fall(falls: Floats, rises: Floats, offsets: Floats, farthest: float) -> int | None:
    """Place of the first fall that is an end-plate's outer face.

    Args:
        falls: greatest mean fall of HU (offsets,).
        rises: greatest mean rise of HU (offsets,).
        offsets: distances from the body's middle in mm.
        farthest: largest distance of the end-plate, mm.

    Returns:
        None if no fall, or more than one, might be that.
    """
    within = offsets <= farthest
    most = max(falls[within].max(), rises[within].max())
    down = [place for place in _peaks(falls) if _FIRST_MM <= offsets[place] <= farthest]
    up = _peaks(rises)
    first = next((place for place in down if falls[place] >= CLEAR * most), None)
    if first is None:
        return None
    outer = offsets[first]
    in_plate = offsets >= outer - THICKEST_PLATE_MM
    across_disc = (offsets > outer - _DISC_MM) & (offsets <= outer - _THINNEST_MM)
    edge_in_middle = falls[offsets < _FIRST_MM].max() >= CLEAR * most
    another_before = any(across_disc[one] and falls[one] >= UNCLEAR * most for one in down)
    rise_of_another = any(not in_plate[one] and rises[one] >= CLEAR * most for one in up)
    own_rise = any(in_plate[one] and one < first and rises[one] >= FAINT * most for one in up)
    is_clear = own_rise and not (edge_in_middle or another_before or rise_of_another)
    return int(first) if is_clear else None


def _lattice(plates: EndPlates) -> NDArray[np.bool_]:
    """Columns in the middle of a body, about 3 mm from each other."""
    chosen = np.ones(len(plates.right), bool)
    for place in (plates.right, plates.forward):
        away = place - (place.min() + place.max()) / 2
        every = max(round(_COLUMN_MM / _spacing(place)), 1)
        chosen &= np.abs(away) < _CENTRAL * np.ptp(place)
        chosen &= np.round((place - place.min()) / _spacing(place)) % every == 0
    return chosen


def _spacing(place: Floats) -> float:
    """Distance of neighbouring columns in mm."""
    known = np.unique(place)
    return float(np.diff(known).min()) if len(known) > 1 else 1.0


def _steps(profiles: Floats) -> Floats:
    """How much HU (columns, offsets) fall outwards: difference of means of 2 mm on either side."""
    count = round(_PART_MM / _PLANE_STEP_MM)
    padded = np.pad(profiles, ((0, 0), (count, count)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    length = profiles.shape[1]
    here = sums[:, count : count + length]
    return (2 * here - sums[:, :length] - sums[:, 2 * count : 2 * count + length]) / count


def _over_planes(steps: Floats, across: Floats) -> tuple[Floats, Floats, Floats]:
    """Greatest mean fall and rise (offsets,) over planes of all slopes, and the fall's slopes.

    Args:
        steps: falls (columns, offsets) of HU.
        across: places (columns, 2) of the columns to the right and forwards.
    """
    columns, count = steps.shape
    slopes = np.stack(np.meshgrid(_SLOPES, _SLOPES), axis=-1).reshape(-1, 2)
    shifts = np.round(slopes @ across.T / _PLANE_STEP_MM).astype(int)
    at = np.clip(np.arange(count) + shifts[..., None], 0, count - 1)
    means = steps[np.arange(columns)[:, None], at].mean(axis=1)  # (slopes, offsets)
    steepest = means.argmax(axis=0)
    return means[steepest, np.arange(count)], -means.min(axis=0), slopes[steepest]


def _peaks(values: Floats) -> NDArray[np.integer]:
    """Places of local maxima."""
    inner = values[1:-1]
    return np.flatnonzero((inner >= values[:-2]) & (inner > values[2:])) + 1


def _face(profiles: Floats, outside: Floats) -> Floats:
    """Distance (columns,) of the end-plate's face outside its plane in mm; NaN where none shows.

    Args:
        profiles: HU (columns, distances).
        outside: distances outside the plane in mm.
    """
    least = profiles[:, outside >= 0].min(axis=1)
    soft = float(np.median(least))
    bright = np.where(outside <= _NEAR_MM[1], profiles, -np.inf)
    start = np.argmax(bright, axis=1)[:, None]
    peak = np.take_along_axis(bright, start, 1)
    contrast = float(np.median(peak)) - soft
    if not contrast >= _LEAST_CONTRAST_HU:
        return np.full(len(profiles), np.nan)
    # Where a thin disc is blurred with the next end-plate, it does not get as dark as elsewhere.
    bridged = profiles[:, -1] - least >= _BEGUN * contrast
    low = np.where(bridged, np.maximum(least, soft), soft)[:, None]
    level = low + LEVEL * (peak - low)
    fallen = (np.arange(len(outside)) > start) & (profiles <= level)
    after = np.argmax(fallen, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    inner, outer = (np.take_along_axis(profiles, place, 1)[:, 0] for place in (before, after))
    part = np.divide(
        inner - level[:, 0], inner - outer, out=np.zeros_like(inner), where=inner > outer
    )
    face = outside[before[:, 0]] + part * _STEP_MM
    seen = (peak[:, 0] >= soft + _BEGUN * contrast) & fallen.any(axis=1)
    return np.where(seen & (face <= _FARTHEST_MM), face, np.nan)
