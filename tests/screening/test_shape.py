"""The spine's shape: planes of known tilt, solids that lean and slip, and the phantom's truth."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation
from synthetic_spine import DISC_MM, Solid, straight_spine

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES
from vertseg.evaluation.shape import QUANTITIES, compare_shape, shape_agreement
from vertseg.phantom import generate_phantom, preset
from vertseg.phantom.bones import end_plate_points, vertebral_body
from vertseg.phantom.scene import sample_scene
from vertseg.phantom.streams import RandomStreams
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import SpineShape, measure_spine
from vertseg.screening.shape import meyerding_grade, spine_shape
from vertseg.screening.surfaces import BodySurfaces, EndPlate

DEPTH_MM, HEIGHT_MM, GAP_MM = 30.0, 25.0, 8.0


def block(label: int, place_mm, tilts_deg=(0.0, 0.0), turn_deg=0.0, step_mm=1.0) -> BodySurfaces:
    """A block with parallel end-plates that leans forwards and to the right."""
    lean = Rotation.from_euler("xy", (-tilts_deg[0], tilts_deg[1]), degrees=True).as_matrix()
    lean = Rotation.from_euler("z", turn_deg, degrees=True).as_matrix() @ lean

    def plate(side: int) -> EndPlate:
        up = side * HEIGHT_MM / 2
        ends = (
            np.array(place_mm) + lean @ np.array([0, forward * DEPTH_MM / 2, up])
            for forward in (-1, 0, 1)
        )
        return EndPlate(lean[:, 2], *ends)

    return BodySurfaces(label, step_mm, lean[:, 0], upper=plate(1), lower=plate(-1))


def column(first: str, last: str, lean=lambda rank: (0.0, 0.0), **options) -> dict:
    """Blocks of usual levels below each other, each leaning by degrees that follow its place."""
    labels = [label for label in CRANIOCAUDAL if label not in (IDS["T13"], IDS["L6"])]
    labels = labels[labels.index(IDS[first]) : labels.index(IDS[last]) + 1]
    return {
        label: block(label, (0, 0, -rank * (HEIGHT_MM + GAP_MM)), lean(rank), **options)
        for rank, label in enumerate(labels)
    }


def shape_of(bodies: dict) -> SpineShape:
    return spine_shape(bodies, list(bodies))


def test_a_straight_spine_has_neither_curves_nor_slips() -> None:
    shape = shape_of(column("T1", "L5"))
    assert (shape.cobb_deg, shape.thoracic_kyphosis_deg, shape.lumbar_lordosis_deg) == (0, 0, 0)
    assert not shape.suppressed
    assert [(one.upper, one.lower) for one in shape.segments][10:13] == [
        ("T11", "T12"), ("T12", "L1"), ("L1", "L2"),
    ]  # fmt: skip
    for one in shape.segments:
        assert (one.slip_mm, one.slip_percent, one.meyerding_grade) == (0, 0, 0)
        assert one.disc_height_middle_mm == one.disc_height_posterior_mm == GAP_MM


def test_kyphosis_and_lordosis_are_the_tilts_between_their_ends() -> None:
    # T1 leans forwards by 30°, each vertebra below by 4° less, the lumbar ones forwards again.
    tilts = [30 - 4 * rank if rank < 12 else -14 + 9 * (rank - 12) for rank in range(17)]
    shape = shape_of(column("T1", "L5", lambda rank: (tilts[rank], 0.0)))
    assert shape.thoracic_kyphosis_deg == tilts[3] - tilts[11] == 32
    assert shape.lumbar_lordosis_deg == tilts[16] - tilts[12] == 36
    assert shape.cobb_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_cobb_angle_is_the_largest_and_names_its_ends_and_its_side(sign: int) -> None:
    # Upper vertebrae of a curve that is convex to the right lean to the left.
    tilts = [0, 0, -4, -9, -12, -6, 0, 7, 10, 6, 2, 0, 0, 0, 0, 0, 0]
    shape = shape_of(column("T1", "L5", lambda rank: (0.0, float(sign * tilts[rank]))))
    assert shape.cobb_deg == 22
    assert shape.cobb_levels == ("T5", "T9")
    assert shape.cobb_convex_to == ("right" if sign > 0 else "left")


def test_a_turned_spine_has_no_cobb_angle_and_says_so() -> None:
    shape = shape_of(column("T1", "L5", turn_deg=20.0))
    assert shape.cobb_deg is None and shape.cobb_levels == ()
    assert shape.suppressed == ("Cobb angle (the spine is turned by 20° about its long axis)",)


def test_what_is_not_in_view_or_not_measured_is_named() -> None:
    bodies = column("T9", "L2")
    del bodies[IDS["T12"]]
    shape = spine_shape(bodies, [*bodies, IDS["T12"], IDS["T4"]])
    assert shape.thoracic_kyphosis_deg is shape.lumbar_lordosis_deg is shape.cobb_deg is None
    assert shape.suppressed == (
        "thoracic kyphosis (end-plates of T4 not measured)",
        "lumbar lordosis (no L5)",
        "Cobb angle (fewer than 5 neighbouring thoracic and lumbar vertebrae measured)",
    )
    assert ("T11", "L1") not in [(one.upper, one.lower) for one in shape.segments]
    empty = spine_shape({}, [])
    assert empty.segments == () and empty.cobb_deg is None


def test_thick_slices_show_no_kyphosis() -> None:
    shape = shape_of(column("T1", "L5", step_mm=3.0))
    assert shape.thoracic_kyphosis_deg is None and shape.lumbar_lordosis_deg == 0
    assert shape.suppressed == ("thoracic kyphosis (slices of 3.0 mm are too thick)",)


@pytest.mark.parametrize(("slip", "grade"), [(2.9, 0), (4, 1), (-4, 1), (8, 2), (16, 3), (31, 5)])
def test_slips_lie_along_the_lower_end_plate(slip: float, grade: int) -> None:
    angle = np.deg2rad(20)
    down = HEIGHT_MM + GAP_MM
    below = block(IDS["L5"], (0, 0, 0), (20, 0))
    forwards = np.array([0, np.cos(angle), -np.sin(angle)])
    upwards = np.array([0, np.sin(angle), np.cos(angle)])
    above = block(IDS["L4"], slip * forwards + down * upwards, (20, 0))
    (segment,) = shape_of({IDS["L4"]: above, IDS["L5"]: below}).segments
    assert segment.slip_mm == pytest.approx(slip)
    assert segment.slip_percent == pytest.approx(100 * slip / DEPTH_MM, abs=0.05)
    assert segment.meyerding_grade == grade
    assert segment.disc_height_anterior_mm == segment.disc_height_posterior_mm == GAP_MM


def test_meyerdings_thresholds() -> None:
    percents = [10, 25, 25.1, 50, 75, 76, 100, 101]
    assert [meyerding_grade(5, percent) for percent in percents] == [1, 1, 2, 2, 3, 4, 4, 5]
    assert meyerding_grade(-5, -30) == 2


def test_a_wedged_disc_has_three_heights() -> None:
    above = block(IDS["L4"], (0, 0, HEIGHT_MM + 10), (-5, 0))
    below = block(IDS["L5"], (0, 0, 0), (5, 0))
    (segment,) = shape_of({IDS["L4"]: above, IDS["L5"]: below}).segments
    # Facing plates meet at 10°: across a depth of 30 mm the gap grows by 2 x 15 x sin 5° each way.
    middle = HEIGHT_MM + 10 - HEIGHT_MM * np.cos(np.deg2rad(5))
    opening = DEPTH_MM * np.sin(np.deg2rad(5))
    assert segment.disc_height_middle_mm == pytest.approx(middle, abs=0.05)
    assert segment.disc_height_anterior_mm == pytest.approx(middle + opening, abs=0.06)
    assert segment.disc_height_posterior_mm == pytest.approx(middle - opening, abs=0.06)


def test_solids_that_lean_and_slip_are_measured_in_their_scan() -> None:
    tilts = [(-12, 8), (-4, 4), (3, 0), (9, -5), (14, -9)]
    solids = [
        Solid(IDS[name], tilts_deg=tilt, forwards_mm=7 if name == "L3" else 0)
        for name, tilt in zip(("L1", "L2", "L3", "L4", "L5"), tilts, strict=True)
    ]
    ct, mask = straight_spine(solids, spacing_mm=(1, 1, 1.5))
    spine = measure_spine(ct, mask)
    shape = spine.shape
    assert shape.lumbar_lordosis_deg == pytest.approx(26, abs=2)
    assert shape.cobb_deg == pytest.approx(17, abs=2)
    assert (shape.cobb_levels, shape.cobb_convex_to) == (("L1", "L5"), "left")
    slips = [one.slip_mm for one in shape.segments]
    # Leaning moves the corners as well.
    np.testing.assert_allclose(slips, corner_slips(solids), atol=1.0)
    json.dumps(dataclasses.asdict(shape))
    values = {type(value) for value in vars(shape).values()}
    assert values <= {float, str, tuple, type(None)}


def corner_slips(solids: list[Solid]) -> list[float]:
    """Slips from the corners of upright rectangles that lean about their centres."""
    slips = []
    for upper, lower in pairwise(solids):
        distance = 26 + DISC_MM
        corners = []
        for solid, height, side in ((upper, distance, -1), (lower, 0, 1)):
            angle = np.deg2rad(solid.tilts_deg[0])
            forwards = np.array([np.cos(angle), -np.sin(angle)])
            upwards = np.array([np.sin(angle), np.cos(angle)])
            centre = np.array([solid.forwards_mm, height])
            corners.append(centre - 16 * forwards + side * 13 * upwards)
        slips.append(float((corners[0] - corners[1]) @ forwards))
    return slips


def test_true_rims_lie_on_the_surface_of_the_drawn_body() -> None:
    scene = sample_scene(RandomStreams.from_seed(2), preset("demo"))
    grid = scene.grid
    for vertebra in scene.subject.vertebrae.values():
        points = [p for end in end_plate_points(vertebra).values() for p in end.values()]
        if vertebra.name == "C1" or not grid.contains(points).all():
            continue
        patch = vertebral_body(grid, vertebra)
        assert patch is not None
        start = np.array([side.start for side in patch.region])
        for point in points:
            voxel = np.round((point - grid.origin) / grid.spacing).astype(int) - start
            assert abs(patch.distance[tuple(voxel)]) < 2.5


def test_a_phantoms_shape_agrees_with_its_truth() -> None:
    phantom = generate_phantom(
        6, dataclasses.replace(preset("demo"), field_of_view={"lumbar": 1.0}, slip_share=1.0)
    )
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    shape = measure_spine(ct, phantom.mask).shape
    table = pd.DataFrame(compare_shape("a", phantom.truth, shape))
    slips = table[table["quantity"] == "slip_mm"]
    assert len(slips) >= 3
    np.testing.assert_allclose(slips["measured"], slips["true"], atol=1.5)
    limits = shape_agreement(table).set_index("quantity")
    assert limits.loc[QUANTITIES["slip_mm"], "values"] == len(slips)
    none_found = compare_shape("a", phantom.truth, shape, found=[])
    assert none_found == []


def test_truth_is_compared_by_plain_geometry() -> None:
    def rim(place, tilt_deg):
        angle = np.deg2rad(tilt_deg)
        forwards = np.array([0, np.cos(angle), -np.sin(angle)])
        place = np.array(place, float)
        return {
            "posterior": (place - 15 * forwards).tolist(),
            "anterior": (place + 15 * forwards).tolist(),
            "left": [place[0] - 20, place[1], place[2]],
            "right": [place[0] + 20, place[1], place[2]],
        }

    names = [NAMES[label] for label in range(20, 25)]
    truth = {
        "end_plates_mm": {
            name: {
                end: rim((0, 0, side * 12 - 33 * k), 5 * k)
                for end, side in (("upper", 1), ("lower", -1))
            }
            for k, name in enumerate(names)
        },
        "body_heights_mm": {
            name: {"anterior": 24, "middle": 22, "posterior": 24} for name in names
        },
    }  # fmt: skip
    measured = SpineShape(lumbar_lordosis_deg=21.0, cobb_deg=1.0, cobb_levels=("L1", "L2"),
                          cobb_run=tuple(names))  # fmt: skip
    rows = {row["quantity"]: row for row in compare_shape("a", truth, measured)}
    assert rows["lumbar_lordosis_deg"]["true"] == pytest.approx(20)
    assert rows["cobb_deg"]["true"] == pytest.approx(0, abs=1e-9)
