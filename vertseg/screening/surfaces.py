"""End-plates of a vertebral body in world space, for angles, slips and disc heights."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from vertseg.screening.body import Body
from vertseg.screening.frames import Floats, LocalVolume
from vertseg.screening.heights import EndPlates, robust_fit, sagittal_lines

_REACH_MM = 2.5
"""Largest distance of an end-plate's edge in the CT from the mask's surface."""
_SMOOTHING_MM = 2.0
"""Width of the Gaussian across the columns that takes the noise out of their profiles."""
_STEP_MM = 0.5
_SHARE = (0.45, 0.42)
"""Reach of the fitted part to either side and to front and back, in widths and depths."""
_LEAST_COLUMNS = 12


@dataclass(frozen=True)
class EndPlate:
    """One end-plate in world mm (RAS+).

    Attributes:
        normal: (3,) unit normal of the plane through its middle, towards the head.
        posterior: (3,) mid-sagittal point at the body's back wall.
        middle: (3,) mid-sagittal point halfway to the front.
        anterior: (3,) mid-sagittal point at the front.
    """

    normal: Floats
    posterior: Floats
    middle: Floats
    anterior: Floats


@dataclass(frozen=True)
class BodySurfaces:
    """Upper and lower end-plate of one vertebra.

    Attributes:
        label: VerSe's value.
        step_mm: longest voxel of the scan along the vertebra's axis.
        right: (3,) the vertebra's right direction in world space, a unit vector.
        upper: end-plate towards the head.
        lower: end-plate towards the feet.
    """

    label: int
    step_mm: float
    right: Floats
    upper: EndPlate
    lower: EndPlate


def body_surfaces(
    label: int, step_mm: float, local: LocalVolume, body: Body, plates: EndPlates
) -> BodySurfaces | None:
    """Both end-plates of an isolated body.

    The mask shows where an end-plate is, the CT where its edge lies: slices along an end-plate
    leave steps in the mask, but not in the CT's values. Back ends lie on the curve of the back
    wall, which is known better than single columns.

    Args:
        label: VerSe's value.
        step_mm: longest voxel of the scan along the vertebra's axis.
        local: the vertebra along its own axes.
        body: the vertebra's body.
        plates: its end-plates, column by column.

    Returns:
        None if the body is too small for planes and mid-sagittal lines.
    """
    edges = at_edges(local, plates)
    slopes, lines = surface_slopes(edges), sagittal_lines(edges)
    if slopes is None or lines is None:
        return None
    axes, origin = local.frame.axes, local.frame.origin
    half = (lines.front - lines.back) / 2
    heights = local.coordinates(2)

    def world(curve: np.polynomial.Polynomial, forward: float) -> Floats:
        place = (forward - lines.back) / half - 1
        return origin + axes @ np.array([lines.right, forward, curve(place)])

    def plate(coefficients: Floats, slope: Floats) -> EndPlate:
        curve = np.polynomial.Polynomial(coefficients)
        back = float(np.interp(curve(-1.0), heights, body.back_mm))
        normal = np.array([*-slope, 1.0])
        return EndPlate(
            axes @ (normal / np.linalg.norm(normal)),
            *(world(curve, forward) for forward in (back, (back + lines.front) / 2, lines.front)),
        )

    return BodySurfaces(
        label,
        step_mm,
        axes[:, 0],
        upper=plate(lines.upper, slopes["upper"]),
        lower=plate(lines.lower, slopes["lower"]),
    )


def at_edges(local: LocalVolume, plates: EndPlates) -> EndPlates:
    """The end-plates, moved by up to 2.5 mm to where the CT falls off most steeply.

    Args:
        local: the vertebra along its own axes.
        plates: end-plates of the mask.
    """
    smoothed = ndimage.gaussian_filter(
        np.nan_to_num(local.hu), (_SMOOTHING_MM / local.step_mm,) * 2 + (0,)
    )
    outwards = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    between = (outwards[1:] + outwards[:-1]) / 2

    def moved(plate: Floats, direction: int) -> Floats:
        heights = plate[:, None] + direction * outwards
        right, forward = (
            np.broadcast_to(place[:, None], heights.shape)
            for place in (plates.right, plates.forward)
        )
        points = (
            np.stack([right, forward, heights]) - local.lower_mm[:, None, None]
        ) / local.step_mm
        profile = ndimage.map_coordinates(smoothed, points, order=1, mode="nearest")
        weight = np.clip(-np.diff(profile, axis=1), 0, None) ** 2
        total = weight.sum(axis=1)
        shift = np.divide(weight @ between, total, out=np.zeros(len(plate)), where=total > 0)
        return plate + direction * shift

    return replace(plates, lower=moved(plates.lower, -1), upper=moved(plates.upper, 1))


def surface_slopes(plates: EndPlates) -> dict[Literal["lower", "upper"], Floats] | None:
    """Slopes (2,) to the right and forwards of both end-plates in the body's middle.

    A surface of second degree takes up the end-plates' concavity.

    Returns:
        None with too few columns.
    """
    right = plates.right - (plates.right.min() + plates.right.max()) / 2
    forward = plates.forward - (plates.forward.min() + plates.forward.max()) / 2
    fitted = np.abs(right) < _SHARE[0] * np.ptp(right)
    fitted &= np.abs(forward) < _SHARE[1] * np.ptp(forward)
    if fitted.sum() < _LEAST_COLUMNS:
        return None
    design = np.stack([right, forward, np.ones_like(right), right**2, forward**2], axis=1)[fitted]
    return {
        "lower": robust_fit(design, plates.lower[fitted])[:2],
        "upper": robust_fit(design, plates.upper[fitted])[:2],
    }
