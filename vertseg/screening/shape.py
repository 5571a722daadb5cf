"""The spine's shape: curves in two planes, slips between neighbours, and disc heights."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, RANK, region
from vertseg.screening.frames import NEIGHBOUR_MM, Floats
from vertseg.screening.surfaces import BodySurfaces, EndPlate

LEAST_SLIP_MM = 3.0
"""Smallest slip with a Meyerding grade; smaller ones lie near the measurement's own limits."""

MEYERDING_PERCENT = (25, 50, 75, 100)
"""Upper limits of Meyerding's grades 1 to 4, in per cent of the lower end-plate's depth."""

LEAST_COBB_LEVELS = 5
"""Smallest number of neighbouring thoracic and lumbar vertebrae with a Cobb angle."""

THICKEST_THORACIC_MM = 2.5
"""Longest voxel along the spine at which thoracic end-plates, some 25 mm deep, show their tilt."""

LARGEST_TURN_DEG = 15.0
"""Largest turn of the spine about the scan's long axis at which its planes are the patient's."""

_USUAL_NEIGHBOURS = frozenset(pairwise(CRANIOCAUDAL)) | {(IDS["T12"], IDS["L1"])}


@dataclass(frozen=True)
class Segment:
    """Two neighbouring vertebrae and the disc between them; None for values left out.

    Attributes:
        upper: name of the upper vertebra.
        lower: name of the lower vertebra.
        slip_mm: distance by which the upper vertebra's lower back corner lies before the lower
            vertebra's upper back corner, along the lower vertebra's end-plate; negative behind it.
        slip_percent: `slip_mm` in per cent of that end-plate's depth.
        meyerding_grade: 0 below 3 mm; from there 1 up to 25 %, 2 up to 50 %, 3 up to 75 %, 4 up to
            100 %, else 5; None for cervical segments.
        disc_height_anterior_mm: distance between the facing end-plates' front ends.
        disc_height_middle_mm: distance halfway between front and back.
        disc_height_posterior_mm: distance between their back ends.
    """

    upper: str
    lower: str
    slip_mm: float | None
    slip_percent: float | None
    meyerding_grade: int | None
    disc_height_anterior_mm: float | None
    disc_height_middle_mm: float | None
    disc_height_posterior_mm: float | None


@dataclass(frozen=True)
class SpineShape:
    """Shape of the spine in one scan; None for values left out, for which `suppressed` has reasons.

    Attributes:
        cobb_deg: largest angle in the scan's coronal plane between the upper end-plate of one and
            the lower end-plate of another thoracic or lumbar vertebra.
        cobb_levels: these two vertebrae, upper first; empty without an angle.
        cobb_convex_to: side of the convexity, "left" or "right".
        cobb_run: neighbouring vertebrae among which the angle is the largest.
        thoracic_kyphosis_deg: angle in the sagittal plane from the upper end-plate of T4 to the
            lower one of T12, positive for kyphosis.
        lumbar_lordosis_deg: the same from the upper end-plate of L1 to the lower one of L5,
            positive for lordosis.
        segments: neighbouring vertebrae, cranial to caudal.
        suppressed: values left out, each with its reason in brackets.
    """

    cobb_deg: float | None = None
    cobb_levels: tuple[str, ...] = ()
    cobb_convex_to: str | None = None
    cobb_run: tuple[str, ...] = ()
    thoracic_kyphosis_deg: float | None = None
    lumbar_lordosis_deg: float | None = None
    segments: tuple[Segment, ...] = ()
    suppressed: tuple[str, ...] = ()


def spine_shape(bodies: Mapping[int, BodySurfaces], in_view: Collection[int]) -> SpineShape:
    """Measure the spine's shape.

    Angles are those of a lateral and a frontal view along the scan's own axes, as of a radiograph.

    Args:
        bodies: measured bodies by label.
        in_view: all labels of the scan.
    """
    ordered = [bodies[label] for label in sorted(bodies, key=RANK.__getitem__)]
    suppressed: list[str] = []
    kyphosis = _sagittal_angle(bodies, in_view, ("T4", "T12"), "thoracic kyphosis", suppressed)
    lordosis = _sagittal_angle(bodies, in_view, ("L1", "L5"), "lumbar lordosis", suppressed)
    cobb = _largest_coronal_angle(ordered, suppressed)
    angle, levels, side, run = cobb or (None, (), None, ())
    return SpineShape(
        cobb_deg=angle,
        cobb_levels=levels,
        cobb_convex_to=side,
        cobb_run=run,
        thoracic_kyphosis_deg=kyphosis,
        lumbar_lordosis_deg=None if lordosis is None else -lordosis,
        segments=tuple(_segment(*pair) for pair in _neighbours(ordered)),
        suppressed=tuple(suppressed),
    )


def without_discs(shape: SpineShape, reason: str) -> SpineShape:
    """The shape without disc heights.

    Args:
        shape: the spine's shape.
        reason: reason in brackets.
    """
    if not shape.segments:
        return shape
    return replace(
        shape,
        segments=tuple(
            replace(
                one,
                disc_height_anterior_mm=None,
                disc_height_middle_mm=None,
                disc_height_posterior_mm=None,
            )
            for one in shape.segments
        ),
        suppressed=(*shape.suppressed, f"disc heights {reason}"),
    )


def sagittal_tilt_deg(normal: Floats) -> float:
    """Forward tilt in degrees of an end-plate's normal (3,), seen along the scan's x axis."""
    return float(np.rad2deg(np.arctan2(normal[1], normal[2])))


def coronal_tilt_deg(normal: Floats) -> float:
    """Tilt to the right in degrees of an end-plate's normal (3,), seen along the y axis."""
    return float(np.rad2deg(np.arctan2(normal[0], normal[2])))


def meyerding_grade(slip_mm: float, slip_percent: float) -> int:
    """Meyerding's grade of a slip forwards or backwards; 0 below 3 mm."""
    if abs(slip_mm) < LEAST_SLIP_MM:
        return 0
    return 1 + int(np.searchsorted(MEYERDING_PERCENT, abs(slip_percent), side="left"))


def _sagittal_angle(
    bodies: Mapping[int, BodySurfaces],
    in_view: Collection[int],
    ends: tuple[str, str],
    title: str,
    suppressed: list[str],
) -> float | None:
    """Forward tilt of one vertebra's upper end-plate over another's lower one."""
    for name in ends:
        if IDS[name] not in bodies:
            reason = f"end-plates of {name} not measured" if IDS[name] in in_view else f"no {name}"
            suppressed.append(f"{title} ({reason})")
            return None
    first, last = (bodies[IDS[name]] for name in ends)
    thick_mm = max(first.step_mm, last.step_mm)
    if region(last.label) == "thoracic" and thick_mm > THICKEST_THORACIC_MM:
        suppressed.append(f"{title} (slices of {thick_mm:.1f} mm are too thick)")
        return None
    return round(sagittal_tilt_deg(first.upper.normal) - sagittal_tilt_deg(last.lower.normal), 1)


def _largest_coronal_angle(
    ordered: Sequence[BodySurfaces], suppressed: list[str]
) -> tuple[float, tuple[str, ...], str, tuple[str, ...]] | None:
    """The four fields of `SpineShape` about the Cobb angle."""
    bodies = _longest_run([one for one in ordered if region(one.label) != "cervical"])
    if len(bodies) < LEAST_COBB_LEVELS:
        suppressed.append(
            f"Cobb angle (fewer than {LEAST_COBB_LEVELS} neighbouring thoracic and lumbar "
            "vertebrae measured)"
        )
        return None
    right = np.mean([one.right for one in bodies], axis=0)
    turn = abs(np.rad2deg(np.arctan2(right[1], right[0])))
    if turn > LARGEST_TURN_DEG:
        suppressed.append(f"Cobb angle (the spine is turned by {turn:.0f}° about its long axis)")
        return None
    upper = np.array([coronal_tilt_deg(one.upper.normal) for one in bodies])
    lower = np.array([coronal_tilt_deg(one.lower.normal) for one in bodies])
    angles = np.triu(upper[:, None] - lower, k=1)
    first, last = np.unravel_index(np.argmax(np.abs(angles)), angles.shape)
    angle = float(angles[first, last])
    names = (NAMES[bodies[first].label], NAMES[bodies[last].label])
    run = tuple(NAMES[one.label] for one in bodies)
    return round(abs(angle), 1), names, "left" if angle > 0 else "right", run


def _longest_run(ordered: Sequence[BodySurfaces]) -> list[BodySurfaces]:
    """The longest sequence of neighbours, the upper one of equals."""
    runs: list[list[BodySurfaces]] = []
    for one in ordered:
        if runs and _adjacent(runs[-1][-1], one):
            runs[-1].append(one)
        else:
            runs.append([one])
    return max(runs, key=len, default=[])


def _neighbours(ordered: Sequence[BodySurfaces]) -> list[tuple[BodySurfaces, BodySurfaces]]:
    return [(one, other) for one, other in pairwise(ordered) if _adjacent(one, other)]


def _adjacent(upper: BodySurfaces, lower: BodySurfaces) -> bool:
    """Whether two vertebrae are neighbours by name and by distance."""
    distance_mm = np.linalg.norm(upper.lower.middle - lower.upper.middle)
    return (upper.label, lower.label) in _USUAL_NEIGHBOURS and bool(distance_mm < NEIGHBOUR_MM / 2)


def _segment(upper: BodySurfaces, lower: BodySurfaces) -> Segment:
    above, below = upper.lower, lower.upper
    forwards = below.anterior - below.posterior
    depth_mm = float(np.linalg.norm(forwards))
    slip_mm = float((above.posterior - below.posterior) @ forwards) / depth_mm
    percent = 100 * slip_mm / depth_mm
    cervical = region(upper.label) == "cervical"
    anterior, middle, posterior = _gaps_mm(above, below)
    return Segment(
        NAMES[upper.label],
        NAMES[lower.label],
        slip_mm=round(slip_mm, 1),
        slip_percent=round(percent, 1),
        meyerding_grade=None if cervical else meyerding_grade(slip_mm, percent),
        disc_height_anterior_mm=round(anterior, 1),
        disc_height_middle_mm=round(middle, 1),
        disc_height_posterior_mm=round(posterior, 1),
    )


def _gaps_mm(above: EndPlate, below: EndPlate) -> list[float]:
    """Distances of the front, the middle and the back ends along the end-plates' mean normal."""
    normal = above.normal + below.normal
    normal /= np.linalg.norm(normal)
    return [
        float((getattr(above, place) - getattr(below, place)) @ normal)
        for place in ("anterior", "middle", "posterior")
    ]
