"""End-plates of an isolated body, their planes and mid-sagittal lines, and heights between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertseg.screening.body import Body
from vertseg.screening.frames import Floats, LocalVolume

_BAND = 0.2
"""Half width of the mid-sagittal band, in widths of the body."""
_LEAST_BAND_MM = 2.5
_LEAST_COLUMNS = 12
LOST_RIM_MM = 0.5
"""Part of a rim, a sharp edge, that outlines from a CT lose at the front and at the back."""
_LEAST_HEIGHT_MM = 3.0
"""Smallest height of a vertebra, crushed ones included."""
_MOST_CONVEX_MM = 3.0
"""Largest excess of the middle over both ends; a body that is not well isolated has more."""
_TUKEY = 4.685
"""Cut-off of Tukey's biweight in standard deviations of the residuals."""
_SD_OF_MAD = 1.4826
"""Standard deviation of normal residuals in median absolute deviations."""


@dataclass(frozen=True)
class Heights:
    """Distances between the end-plates along the body's own axis, mm."""

    anterior: float
    middle: float
    posterior: float


@dataclass(frozen=True)
class SagittalLines:
    """Parabolas through a body's end-plates in the mid-sagittal band, from -1, the back, to 1.

    Attributes:
        lower: coefficients (3,) of the lower end-plate's local superior coordinate, mm.
        upper: those of the upper end-plate.
        back: local anterior coordinate of the body's back, mm.
        front: that of its front.
        right: local right coordinate of the band's middle, mm.
    """

    lower: Floats
    upper: Floats
    back: float
    front: float
    right: float


@dataclass(frozen=True)
class EndPlates:
    """End-plates above and below each column of a body.

    Attributes:
        right: (columns,) local right coordinate, mm.
        forward: (columns,) local anterior coordinate, mm.
        lower: (columns,) local superior coordinate of the lower end-plate, mm; NaN if unknown.
        upper: the same of the upper end-plate.
    """

    right: Floats
    forward: Floats
    lower: Floats
    upper: Floats


def end_plates(local: LocalVolume, body: Body) -> EndPlates:
    """End-plates of every column of the body, to a fraction of a voxel."""
    up = local.coordinates(2)
    occupancy = np.where(_grown(body.inside), local.occupancy, 0)
    columns = body.inside.any(axis=2)
    part = occupancy[columns]
    surfaces = []
    for direction in (1, -1):
        solid = part[:, ::direction] >= 0.5
        last = solid.shape[1] - 1 - np.argmax(solid[:, ::-1], axis=1)
        inner = np.take_along_axis(part[:, ::direction], last[:, None], 1)[:, 0]
        after = np.minimum(last + 1, solid.shape[1] - 1)
        outer = np.take_along_axis(part[:, ::direction], after[:, None], 1)[:, 0]
        fraction = np.clip((inner - 0.5) / np.maximum(inner - outer, 1e-3), 0, 1)
        surfaces.append(up[::direction][last] + direction * fraction * local.step_mm)
    right, forward = (
        np.broadcast_to(axis, columns.shape)[columns]
        for axis in (local.coordinates(0)[:, None], local.coordinates(1)[None, :])
    )
    return EndPlates(right, forward, lower=surfaces[1], upper=surfaces[0])


def superior_direction(plates: EndPlates) -> Floats:
    """Unit vector (3,) midway between the normals of planes through the two end-plates.

    With too few columns for planes, it is the frame's own axis.
    """
    right, forward = plates.right - plates.right.mean(), plates.forward - plates.forward.mean()
    central = (np.abs(right) < 0.36 * np.ptp(right)) & (np.abs(forward) < 0.36 * np.ptp(forward))
    if central.sum() < _LEAST_COLUMNS:
        return np.array([0.0, 0.0, 1.0])
    design = np.stack([right, forward, np.ones_like(right)], axis=1)[central]
    slopes = np.mean(
        [robust_fit(design, plate[central])[:2] for plate in (plates.lower, plates.upper)], axis=0
    )
    normal = np.array([-slopes[0], -slopes[1], 1.0])
    return normal / np.linalg.norm(normal)


def body_heights(plates: EndPlates, lost_rim_mm: float = 0) -> Heights | None:
    """Heights in the mid-sagittal band.

    A parabola through each end-plate, from the back wall to the front, evens out the voxels. The
    distances at its ends are the anterior and posterior height, the least distance in the middle
    half is the middle height.

    Args:
        plates: both end-plates.
        lost_rim_mm: part of the body beyond the end-plates' columns at the front and at the back.

    Returns:
        None if the band holds too few columns, a height is below 3 mm, or the middle is higher
        than both ends by over 3 mm, which no body is.
    """
    lines = sagittal_lines(plates)
    if lines is None:
        return None
    gap = np.polynomial.Polynomial(lines.upper - lines.lower)
    inner = gap(np.linspace(-0.5, 0.5, 21))
    rim = 1 + 2 * lost_rim_mm / (lines.front - lines.back)
    heights = Heights(float(gap(rim)), float(inner.min()), float(gap(-rim)))
    ends = heights.anterior, heights.posterior
    if min(*ends, heights.middle) < _LEAST_HEIGHT_MM:
        return None
    return heights if heights.middle - max(ends) <= _MOST_CONVEX_MM else None


def sagittal_lines(plates: EndPlates) -> SagittalLines | None:
    """Lines of both end-plates in the mid-sagittal band; None if it holds too few columns."""
    middle = (plates.right.min() + plates.right.max()) / 2
    half_band = max(_BAND * np.ptp(plates.right), _LEAST_BAND_MM)
    band = np.abs(plates.right - middle) <= half_band
    if not band.any():
        return None
    forward = plates.forward[band]
    back, front = forward.min() - 0.5, forward.max() + 0.5
    place = (forward - back) / (front - back) * 2 - 1
    fitted = np.abs(place) < 0.9
    if fitted.sum() < _LEAST_COLUMNS:
        return None
    design = np.stack([np.ones_like(place), place, place**2], axis=1)[fitted]
    values = [plate[band][fitted] for plate in (plates.lower, plates.upper)]
    known = [np.isfinite(one) for one in values]
    if min(one.sum() for one in known) < _LEAST_COLUMNS:
        return None
    lower, upper = (
        robust_fit(design[seen], one[seen]) for seen, one in zip(known, values, strict=True)
    )
    return SagittalLines(lower, upper, float(back), float(front), float(middle))


def robust_fit(design: Floats, values: Floats) -> Floats:
    """Coefficients of a robust linear fit: least squares, repeated with Tukey's biweight.

    Args:
        design: (points, coefficients).
        values: (points,).
    """
    weights = np.ones(len(values))
    for _ in range(4):
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
        rest = np.abs(values - design @ coefficients)
        scale = max(_SD_OF_MAD * float(np.median(rest)), 0.2)
        weights = np.clip(1 - (rest / (_TUKEY * scale)) ** 2, 0, None) ** 2
    return coefficients


def _grown(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a body (right, anterior, superior) and one more at both ends of each column."""
    grown = solid.copy()
    grown[:, :, 1:] |= solid[:, :, :-1]
    grown[:, :, :-1] |= solid[:, :, 1:]
    return grown
