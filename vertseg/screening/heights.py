"""End-plates of an isolated body, their planes and mid-sagittal lines, and heights between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertseg.screening.body import Body
from vertseg.screening.frames import Floats, LocalVolume, VertebraFrame

_BAND = 0.2
"""Half width of the mid-sagittal band, in widths of the body."""
_LEAST_BAND_MM = 2.5
_LEAST_COLUMNS = 12
SMOOTHING_MM = 2.0
"""Width (SD) over which a CT is smoothed across columns before end-plates are found in it.

At the front and at the back, columns within this distance of the body's edge mix with soft tissue.
"""
_LOST_RIM_MM = 0.5
"""Part of a rim, a sharp edge, that outlines from a CT lose at the front and at the back."""
_MARGIN = 0.05
"""Part of the depth at the front and at the back that lines are not fitted to."""
_NEAR_MM, _LEAST_NEAR = 2.0, 0.5
"""Distance of a column's end-plate from its line, and the smallest share of columns within it in
each third of the depth; otherwise a line's end is extrapolated, or two end-plates are mixed."""
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


def body_heights(plates: EndPlates, in_ct: bool = False) -> Heights | None:
    """Heights in the mid-sagittal band.

    A parabola through each end-plate, from the back wall to the front, evens out the voxels. The
    distances at its ends are the anterior and posterior height, the least distance in the middle
    half is the middle height.

    Args:
        plates: both end-plates.
        in_ct: whether they were found in the CT, in an outline drawn from it.

    Returns:
        None if the band holds too few columns, a height is below 3 mm, or the middle is higher
        than both ends by over 3 mm, which no body is. In the CT, also None if in a third of the
        depth half of the columns lie more than 2 mm from the parabola.
    """
    lines = sagittal_lines(plates, SMOOTHING_MM if in_ct else 0)
    if lines is None or (in_ct and not _follows(lines, plates)):
        return None
    gap = np.polynomial.Polynomial(lines.upper - lines.lower)
    inner = gap(np.linspace(-0.5, 0.5, 21))
    rim = 1 + (2 * _LOST_RIM_MM / (lines.front - lines.back) if in_ct else 0)
    heights = Heights(float(gap(rim)), float(inner.min()), float(gap(-rim)))
    ends = heights.anterior, heights.posterior
    if min(*ends, heights.middle) < _LEAST_HEIGHT_MM:
        return None
    return heights if heights.middle - max(ends) <= _MOST_CONVEX_MM else None


def sagittal_lines(plates: EndPlates, margin_mm: float = 0) -> SagittalLines | None:
    """Lines of both end-plates in the mid-sagittal band.

    Args:
        plates: both end-plates.
        margin_mm: distance from the front and the back within which columns do not count; at
            least a twentieth of the depth.

    Returns:
        None if the band holds too few columns.
    """
    middle, band = _band(plates)
    if not band.any():
        return None
    forward = plates.forward[band]
    back, front = forward.min() - 0.5, forward.max() + 0.5
    place = (forward - back) / (front - back) * 2 - 1
    fitted = np.abs(place) < 1 - 2 * max(_MARGIN, margin_mm / (front - back))
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
    return SagittalLines(lower, upper, float(back), float(front), middle)


def plate_middles(plates: EndPlates, frame: VertebraFrame) -> Floats | None:
    """World coordinates (2, 3) in mm of the middles of the lower and the upper end-plate.

    Args:
        plates: end-plates that were found in a CT.
        frame: axes of their coordinates.

    Returns:
        None if the mid-sagittal band holds too few columns.
    """
    lines = sagittal_lines(plates, SMOOTHING_MM)
    if lines is None:
        return None
    forward = (lines.back + lines.front) / 2
    middles = [[lines.right, forward, line[0]] for line in (lines.lower, lines.upper)]
    return frame.origin + np.array(middles) @ frame.axes.T


def _band(plates: EndPlates) -> tuple[float, NDArray[np.bool_]]:
    """Local right coordinate of the mid-sagittal band's middle, and its columns."""
    middle = float(plates.right.min() + plates.right.max()) / 2
    half_band = max(_BAND * np.ptp(plates.right), _LEAST_BAND_MM)
    return middle, np.abs(plates.right - middle) <= half_band


def _follows(lines: SagittalLines, plates: EndPlates) -> bool:
    """Whether most columns lie near the lines at the back, in the middle and at the front."""
    _, band = _band(plates)
    place = (plates.forward[band] - lines.back) / (lines.front - lines.back) * 2 - 1
    third = np.digitize(place, (-1 / 3, 1 / 3))
    for line, plate in ((lines.lower, plates.lower), (lines.upper, plates.upper)):
        near = np.abs(plate[band] - np.polynomial.Polynomial(line)(place)) <= _NEAR_MM
        if any(near[third == one].mean() < _LEAST_NEAR for one in np.unique(third)):
            return False
    return True


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
