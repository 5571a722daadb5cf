"""Screening measures of every labelled vertebra in a CT."""

import itertools
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import NAMES, RANK, region
from vertseg.core.parallel import in_threads
from vertseg.scans.volumes import Volume
from vertseg.screening.attenuation import FOREIGN, TOO_SMALL, foreign_material, trabecular_hu
from vertseg.screening.body import Body, isolate_body
from vertseg.screening.density import Calibration, calibrate
from vertseg.screening.edges import ClearPlanes, planes_in_ct, plates_in_ct
from vertseg.screening.fractures import Deformity, Reference, grade_heights
from vertseg.screening.frames import (
    Floats,
    LabelledVertebra,
    LocalVolume,
    VertebraFrame,
    first_frames,
    resample,
)
from vertseg.screening.heights import (
    Heights,
    body_heights,
    end_plates,
    plate_middles,
    superior_direction,
)
from vertseg.screening.references import find_references
from vertseg.screening.shape import SpineShape, spine_shape, without_discs
from vertseg.screening.surfaces import BodySurfaces, body_surfaces
from vertseg.screening.visibility import CUT_BODY, CUT_VERTEBRA, body_cut, vertebra_cut

NO_ORDINARY_BODY = frozenset({1, 2})
"""Labels of C1 and C2."""

COARSE_STEP_MM, STEP_MM = 2.0, 1.0

THICKEST_MM = 3.3
"""Longest voxel along a vertebra's own axis at which heights are measured.

The validation went up to slices of 3 mm.
"""

COARSEST_MM = 1.6
"""Largest cell of a network whose outlines are fine enough for heights."""

UNCLEAR_PLATES = "heights (the CT does not show both end-plates clearly)"
PARTLY_SEEN = "heights (the CT shows the end-plates only in part)"
OVERLAPPING = "heights (end-plates overlap with a neighbour's)"

_LEAST_DISC_MM = 0.0
"""Least distance of end-plates of neighbours."""
_AROUND_MM = np.array([7.0, 7.0, 11.0])
"""Surroundings of a body on its grid: the next end-plate above and below."""
_LARGEST_SLOPE = 0.08
"""Slope of end-plates in the CT from which the body's axis is set anew."""
_NO_HEIGHTS: dict[str, Any] = dict.fromkeys(
    (
        "height_anterior_mm",
        "height_middle_mm",
        "height_posterior_mm",
        "height_loss",
        "height_reference",
        "genant_grade",
        "fracture_shape",
    )
)

_CANAL_MM = np.array([0.0, 3.0, 0.0])


@dataclass(frozen=True)
class VertebraMeasures:
    """Measures of one vertebra; None for values that are unknown or would mislead.

    Attributes:
        label: VerSe's value.
        name: such as "L1".
        complete: presence of the whole vertebra in the scan.
        body_complete: presence of its whole body in the scan.
        foreign_material: presence of metal or cement in or at the vertebra.
        volume_ml: volume of the label.
        body_volume_ml: volume of the isolated body.
        trabecular_hu: median of the body's spongy bone.
        bmd_mg_cc: density of that bone as K2HPO4 in water, calibrated by tissues in the scan.
        height_anterior_mm: distance between the end-plates' anterior rims.
        height_middle_mm: least distance between the end-plates.
        height_posterior_mm: distance between the posterior rims.
        height_loss: largest loss of height, 0 to 1, against `height_reference`; like the grade,
            None for cervical vertebrae.
        height_reference: "neighbours" or "own posterior height".
        genant_grade: 0 to 3.
        fracture_shape: "wedge", "biconcave" or "crush" from grade 1 on.
        suppressed: values left out, each with its reason in brackets.
    """

    label: int
    name: str
    complete: bool
    body_complete: bool
    foreign_material: bool = False
    volume_ml: float | None = None
    body_volume_ml: float | None = None
    trabecular_hu: float | None = None
    bmd_mg_cc: float | None = None
    height_anterior_mm: float | None = None
    height_middle_mm: float | None = None
    height_posterior_mm: float | None = None
    height_loss: float | None = None
    height_reference: Reference | None = None
    genant_grade: int | None = None
    fracture_shape: Deformity | None = None
    suppressed: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenVertebra:
    """A vertebra's measures before it is compared with its neighbours."""

    measures: VertebraMeasures
    centre_mm: Floats
    heights: Heights | None
    surfaces: BodySurfaces | None = None
    plates_mm: Floats | None = None
    """Middles (2, 3) of the lower and the upper end-plate in world mm, if the CT shows them."""


@dataclass(frozen=True)
class SpineMeasures:
    """Measures of one scan.

    Attributes:
        vertebrae: measures of each labelled vertebra, from C1 downwards.
        shape: the spine's curves, slips and discs.
        calibration: from HU to bone density, and the tissues on which it rests.
    """

    vertebrae: list[VertebraMeasures]
    shape: SpineShape
    calibration: Calibration


def measure_vertebrae(
    ct: Volume,
    mask: NDArray,
    unsure: Collection[int] = (),
    cell_mm: float = 0,
    from_ct: Collection[int] = (),
) -> list[VertebraMeasures]:
    """Measures of every labelled vertebra alone; arguments and errors as of `measure_spine`."""
    return measure_spine(ct, mask, unsure, cell_mm, from_ct=from_ct).vertebrae


def measure_spine(
    ct: Volume,
    mask: NDArray,
    unsure: Collection[int] = (),
    cell_mm: float = 0,
    tube_voltage_kv: float | None = None,
    from_ct: Collection[int] = (),
    threads: int = 1,
) -> SpineMeasures:
    """Measure every labelled vertebra and the shape of the spine.

    Args:
        ct: HU, in canonical axes.
        mask: label map with VerSe's values on the CT's grid, integers.
        unsure: labels with unreliable outlines, for which only the volume is measured.
        cell_mm: size of the cells on which a network drew the mask; 0 for a reference mask.
        tube_voltage_kv: the tube's peak voltage, if known, for bone density.
        from_ct: labels whose outlines were drawn anew where the CT shows them.
        threads: number of vertebrae measured at a time.

    Raises:
        ValueError: the shapes differ.
    """
    if mask.shape != ct.array.shape:
        raise ValueError(f"mask of shape {mask.shape} on a CT of shape {ct.array.shape}")
    boxes = {label: box for label, box in label_boxes(mask).items() if label in NAMES}
    frames = first_frames(mask, ct.affine, boxes)
    jobs: list[tuple[Any, ...]] = [
        (
            _measure,
            LabelledVertebra(ct, mask, label, boxes[label]),
            frames.get(label),
            label in unsure,
            cell_mm,
            label in from_ct,
        )
        for label in sorted(boxes, key=RANK.__getitem__)
    ]
    if boxes:
        # The longest job comes first.
        jobs.insert(0, (find_references, ct, mask))
    references, *seen = in_threads(operator.call, jobs, threads) or [[]]
    seen = without_overlaps(seen)
    grades = grade_heights(
        [
            (one.centre_mm, None if region(one.measures.label) == "cervical" else one.heights)
            for one in seen
        ]
    )
    vertebrae = [
        one.measures
        if grade is None
        else replace(
            one.measures,
            height_loss=round(grade.loss, 3),
            height_reference=grade.reference,
            genant_grade=grade.grade,
            fracture_shape=grade.shape,
        )
        for one, grade in zip(seen, grades, strict=True)
    ]
    surfaces = {one.measures.label: one.surfaces for one in seen if one.surfaces is not None}
    calibration = calibrate(references, tube_voltage_kv)
    vertebrae = [replace(one, bmd_mg_cc=_density(one, calibration)) for one in vertebrae]
    return SpineMeasures(vertebrae, spine_shape(surfaces, boxes), calibration)


def without_overlaps(seen: Sequence[SeenVertebra]) -> list[SeenVertebra]:
    """Vertebrae, cranial to caudal, without heights of neighbours whose end-plates overlap.

    If one's lower and the next one's upper end-plate leave no disc, at least one of them is not
    the body's own.
    """
    overlapping = {
        place + side
        for place, (one, below) in enumerate(itertools.pairwise(seen))
        if one.plates_mm is not None
        and below.plates_mm is not None
        and _disc_mm(one, below) < _LEAST_DISC_MM
        for side in (0, 1)
    }
    return [
        _nothing_but(replace(one.measures, **_NO_HEIGHTS), OVERLAPPING)
        if place in overlapping
        else one
        for place, one in enumerate(seen)
    ]


def _disc_mm(one: SeenVertebra, below: SeenVertebra) -> float:
    """Distance of two neighbours' end-plates in the middle."""
    assert one.plates_mm is not None and below.plates_mm is not None
    up = one.centre_mm - below.centre_mm
    return float((one.plates_mm[0] - below.plates_mm[1]) @ (up / np.linalg.norm(up)))


def _density(one: VertebraMeasures, calibration: Calibration) -> float | None:
    density = None
    if one.trabecular_hu is not None:
        density = calibration.density_mg_cc(one.trabecular_hu)
    return None if density is None else round(density, 1)


def without_coarse_outlines(
    measured: SpineMeasures, cell_mm: float, kept: Mapping[int, str] | None = None
) -> SpineMeasures:
    """Measures without those that outlines on a network's coarse cells do not carry.

    On cells of 2.5 mm the limits of agreement of heights span about half a body. Outlines drawn
    from the CT carry heights of thoracic and lumbar vertebrae (docs/screening.md). Discs, which
    are lower than bodies, are left out all the same.

    Args:
        measured: measures in a predicted mask.
        cell_mm: size of the network's cells.
        kept: vertebrae that keep the network's outline, with reasons; None: all do.
    """
    if cell_mm <= COARSEST_MM:
        return measured
    cells = f"outlines drawn on cells of {cell_mm:.1f} mm"

    def carried(one: VertebraMeasures) -> VertebraMeasures:
        if kept is None:
            reason = cells
        elif one.label in kept:
            reason = f"{cells}, since {kept[one.label]}"
        elif region(one.label) == "cervical":
            reason = "outlines drawn from the CT, too coarse for the neck"
        else:
            return one
        if one.height_middle_mm is None:
            return one
        return _without(replace(one, **_NO_HEIGHTS), f"heights ({reason})")

    vertebrae = [carried(one) for one in measured.vertebrae]
    return replace(measured, vertebrae=vertebrae, shape=without_discs(measured.shape, f"({cells})"))


def isolated_body(
    vertebra: LabelledVertebra, frame: VertebraFrame
) -> tuple[LocalVolume, Body] | None:
    """A vertebra along its own axes, and its body.

    A coarse pass aligns the frame with the end-plates; the fine pass is returned.

    Args:
        vertebra: the vertebra in its scan.
        frame: first estimate of its axes.

    Returns:
        None if no body could be isolated.
    """
    coarse = resample(vertebra, frame, COARSE_STEP_MM)
    body = isolate_body(coarse)
    if body is None:
        return None
    return _along(vertebra, coarse, body, superior_direction(end_plates(coarse, body)))


def _along(
    vertebra: LabelledVertebra, local: LocalVolume, body: Body, up: Floats
) -> tuple[LocalVolume, Body] | None:
    """A vertebra on a fine grid with a local direction as its up, and its body, if there is one."""
    low, high, centre = (local.lower_mm + local.step_mm * part for part in body.extent())
    lower, upper = low - centre - _AROUND_MM - _CANAL_MM, high - centre + _AROUND_MM
    fine = resample(vertebra, local.frame.moved(centre, up), STEP_MM, lower, upper)
    again = isolate_body(fine)
    return None if again is None else (fine, again)


def _along_planes(
    vertebra: LabelledVertebra, local: LocalVolume, body: Body, planes: ClearPlanes
) -> tuple[LocalVolume, Body] | None:
    """The same, with up midway between the planes' normals; None where they are hardly tilted.

    A border between two labels may be oblique where the end-plates are not.
    """
    slopes = np.mean([planes.lower.slopes, planes.upper.slopes], axis=0)
    if np.abs(slopes).max() <= _LARGEST_SLOPE:
        return None
    return _along(vertebra, local, body, np.array([*-slopes, 1.0]))


def _measure(
    vertebra: LabelledVertebra,
    frame: VertebraFrame | None,
    unsure: bool,
    cell_mm: float,
    from_ct: bool,
) -> SeenVertebra:
    label = vertebra.label
    cut = vertebra_cut(vertebra)
    voxel_ml = float(vertebra.ct.spacing_mm.prod()) / 1000
    volume_ml = int(np.count_nonzero(vertebra.inside(vertebra.box))) * voxel_ml
    base = VertebraMeasures(
        label,
        NAMES[label],
        complete=not cut,
        body_complete=not cut,
        volume_ml=None if cut else round(volume_ml, 2),
        suppressed=(CUT_VERTEBRA,) if cut else (),
    )
    if unsure:
        return _nothing_but(base, "HU and heights (the network is unsure of this vertebra)")
    if label in NO_ORDINARY_BODY:
        return _nothing_but(base, "HU and heights (no ordinary body)")
    if frame is None:
        return _nothing_but(base, "HU and heights (less than 1 ml labelled)")
    isolated = isolated_body(vertebra, frame)
    if isolated is None:
        return _nothing_but(base, "HU and heights (no spinal canal found behind the body)")
    local, body = isolated
    if body_cut(local, body):
        return _nothing_but(replace(base, body_complete=False), CUT_BODY)
    plates = end_plates(local, body)
    planes = planes_in_ct(local, plates) if from_ct else None
    if planes is not None and (turned := _along_planes(vertebra, local, body, planes)):
        local, body = turned
        plates = end_plates(local, body)
        planes = planes_in_ct(local, plates)
    along_mm = float(np.abs(local.frame.axes[:, 2] @ vertebra.ct.affine[:3, :3]).max())
    thick = along_mm > THICKEST_MM
    shown = None if from_ct else plates
    if planes is not None and not thick:
        shown = plates_in_ct(local, plates, planes)
    heights = None if thick or shown is None else body_heights(shown, in_ct=from_ct)
    foreign = foreign_material(local, body)
    measures = replace(
        base,
        body_complete=True,
        foreign_material=foreign,
        body_volume_ml=round(float(body.inside.sum()) * local.step_mm**3 / 1000, 2),
        trabecular_hu=None if foreign else trabecular_hu(local, body, 0 if from_ct else cell_mm),
    )
    if measures.trabecular_hu is None:
        measures = _without(measures, FOREIGN if foreign else TOO_SMALL)
    if heights is None:
        reason = "heights (end-plates not found)"
        if thick:
            reason = "heights (slices too thick)"
        elif from_ct:
            reason = UNCLEAR_PLATES if planes is None else PARTLY_SEEN
        return _nothing_but(measures, reason)
    return SeenVertebra(
        replace(
            measures,
            height_anterior_mm=round(heights.anterior, 2),
            height_middle_mm=round(heights.middle, 2),
            height_posterior_mm=round(heights.posterior, 2),
        ),
        local.frame.origin,
        heights,
        body_surfaces(label, along_mm, local, body, plates),
        plate_middles(shown, local.frame) if from_ct and shown is not None else None,
    )


def _nothing_but(measures: VertebraMeasures, reason: str) -> SeenVertebra:
    """A vertebra whose heights are unknown."""
    return SeenVertebra(_without(measures, reason), np.full(3, np.nan), None)


def _without(measures: VertebraMeasures, reason: str) -> VertebraMeasures:
    return replace(measures, suppressed=(*measures.suppressed, reason))
