"""Screening measures: exact solids at any angle, the phantom's truth, and the real sample."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from synthetic_spine import SPONGY_HU, Solid, straight_spine

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.dataset.samples import Sample
from vertseg.evaluation.screening import (
    MEASURED,
    QUANTITIES,
    agreement,
    compare_scan,
    grade_counts,
)
from vertseg.phantom import Phantom, generate_phantom, preset, write_verse_scan
from vertseg.phantom.bones import vertebral_body
from vertseg.phantom.scene import sample_scene
from vertseg.phantom.streams import RandomStreams
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import (
    RESEARCH_USE_ONLY,
    VertebraMeasures,
    measure_spine,
    measure_vertebrae,
    summarise,
    without_coarse_outlines,
)
from vertseg.screening.body import _robust_curve, isolate_body
from vertseg.screening.edges import planes_in_ct, plates_in_ct
from vertseg.screening.fractures import genant_grade
from vertseg.screening.frames import (
    LabelledVertebra,
    LocalVolume,
    VertebraFrame,
    box_around,
    first_frames,
    resample,
)
from vertseg.screening.heights import EndPlates, Heights, body_heights
from vertseg.screening.measures import (
    OVERLAPPING,
    UNCLEAR_PLATES,
    SeenVertebra,
    isolated_body,
    without_overlaps,
)
from vertseg.screening.summary import pickhardt_category

T12, L1, L2, L3 = 19, 20, 21, 22
HEIGHTS = ("height_anterior_mm", "height_middle_mm", "height_posterior_mm")
BODY_VALUES = (*HEIGHTS, "trabecular_hu", "body_volume_ml", "height_loss", "genant_grade")


def heights_of(one: VertebraMeasures) -> list[float]:
    return [getattr(one, field) for field in HEIGHTS]


def measures(ct: Volume, mask: np.ndarray) -> dict[str, VertebraMeasures]:
    return {one.name: one for one in measure_vertebrae(ct, mask)}


@pytest.mark.parametrize(
    ("angles", "spacing"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((30, 0, 0), (0.8, 0.8, 2)),
        ((-25, 10, 0), (1, 1, 1)),
        ((15, -15, 20), (0.8, 0.8, 2)),
    ],
)
def test_heights_and_attenuation_of_exact_solids(angles, spacing) -> None:
    solids = [Solid(L1, 27, 24, 25), Solid(L2, 28, 25, 26), Solid(L3, 29, 26, 25)]
    found = measures(*straight_spine(solids, angles, spacing))
    assert list(found) == ["L1", "L2", "L3"]
    for solid, one in zip(solids, found.values(), strict=True):
        expected = [solid.anterior, solid.middle, solid.posterior]
        # End-plates along the slices are known to a voxel alone.
        np.testing.assert_allclose(heights_of(one), expected, atol=0.9 if any(angles) else 1.1)
        assert one.trabecular_hu == pytest.approx(SPONGY_HU, abs=3)
        assert one.complete and one.body_complete and not one.foreign_material
        assert one.genant_grade == 0 and one.fracture_shape is None
        assert not one.suppressed


@pytest.mark.parametrize("angles", [(0, 0, 0), (-25, 10, 0)])
def test_heights_between_end_plates_that_the_ct_shows(angles) -> None:
    solids = [Solid(L1, 27, 24, 25), Solid(L2, 28, 25, 26), Solid(L3, 29, 26, 25)]
    ct, mask = straight_spine(solids, angles, blur_mm=0.7)
    wide = ndimage.grey_dilation(mask, (1, 1, 3))
    found = measure_vertebrae(ct, wide, from_ct=[L1, L2, L3])
    for solid, one in zip(solids, found, strict=True):
        expected = [solid.anterior, solid.middle, solid.posterior]
        np.testing.assert_allclose(heights_of(one), expected, atol=1.1)
    by_mask = measure_vertebrae(ct, wide)
    assert by_mask[1].height_middle_mm > found[1].height_middle_mm + 1


@settings(max_examples=8, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-30, 30)] * 3),
    shift=st.tuples(*[st.floats(0, 1)] * 3),
    mirrored=st.booleans(),
)
def test_measures_do_not_depend_on_the_pose(angles, shift, mirrored) -> None:
    solids = [Solid(L1, 24, 22, 26), Solid(L2, 26, 24, 26)]
    ct, mask = straight_spine(solids, angles, (1, 1, 1.25), shift)
    if mirrored:
        ct, mask = dataclasses.replace(ct, array=ct.array[::-1]), mask[::-1]
    for solid, one in zip(solids, measures(ct, mask).values(), strict=True):
        expected = [solid.anterior, solid.middle, solid.posterior]
        # Slices along both end-plates show a height to about one and a half slices of 1.25 mm;
        # across them rims are known as well as docs/screening.md reports, middles better.
        tilted = max(abs(angle) for angle in angles[:2]) >= 5
        np.testing.assert_allclose(heights_of(one), expected, atol=1.5 if tilted else 1.9)
        if tilted:
            assert one.height_middle_mm == pytest.approx(solid.middle, abs=0.6)
        assert one.trabecular_hu == pytest.approx(SPONGY_HU, abs=3)


def test_volumes_of_exact_solids() -> None:
    ct, mask = straight_spine([Solid(L1)])
    (one,) = measure_vertebrae(ct, mask)
    assert one.volume_ml == pytest.approx(np.sum(mask == L1) / 1000, abs=0.01)
    # Area within (2x/42)^2 + (2y/32)^4 = 1 by quadrature.
    y = np.linspace(-16, 16, 20001)
    area = np.trapezoid(42 * np.sqrt(1 - (y / 16) ** 4), y)
    assert one.body_volume_ml == pytest.approx(area * 26 / 1000, rel=0.06)


@pytest.mark.parametrize(
    ("solid", "grade", "shape"),
    [
        (Solid(L1, 0.70 * 26, 0.85 * 26, 26), 2, "wedge"),
        (Solid(L1, 0.78 * 26, 0.89 * 26, 26), 1, "wedge"),
        (Solid(L1, 0.95 * 26, 0.68 * 26, 26), 2, "biconcave"),
        (Solid(L1, 0.52 * 26, 0.52 * 26, 0.55 * 26), 3, "crush"),
        (Solid(L1, 0.92 * 26, 0.95 * 26, 26), 0, None),
    ],
)
def test_fractures_among_neighbours(solid: Solid, grade: int, shape: str | None) -> None:
    spine = [Solid(18), Solid(T12), solid, Solid(L2), Solid(L3)]
    found = measures(*straight_spine(spine, (10, 0, 0)))
    loss = 1 - min(solid.anterior, solid.middle, solid.posterior) / 26
    assert found["L1"].height_loss == pytest.approx(loss, abs=0.035)
    assert (found["L1"].genant_grade, found["L1"].fracture_shape) == (grade, shape)
    assert found["L1"].height_reference == "neighbours"
    others = [one for name, one in found.items() if name != "L1"]
    assert {one.genant_grade for one in others} == {0}


def test_a_wedge_without_neighbours_is_graded_by_its_posterior_height() -> None:
    (one,) = measure_vertebrae(*straight_spine([Solid(L1, 0.7 * 26, 0.85 * 26, 26)], (20, 0, 0)))
    assert one.height_loss == pytest.approx(0.3, abs=0.03)
    assert (one.genant_grade, one.fracture_shape) == (2, "wedge")
    assert one.height_reference == "own posterior height"


def test_adjacent_fractures_do_not_hide_each_other() -> None:
    wedge = {"anterior": 16.0, "middle": 21.0, "posterior": 26.0}
    spine = [Solid(18), Solid(T12), Solid(L1, **wedge), Solid(L2, **wedge), Solid(L3), Solid(23)]
    found = measures(*straight_spine(spine))
    assert [one.genant_grade for one in found.values()] == [0, 0, 2, 2, 0, 0]


def test_cervical_vertebrae_are_not_graded() -> None:
    spine = [Solid(6), Solid(7, 16, 21, 26), Solid(8, 16, 21, 26)]
    _, c7, t1 = measure_vertebrae(*straight_spine(spine))
    assert c7.height_anterior_mm == pytest.approx(16, abs=1.1)
    assert c7.genant_grade is c7.height_loss is None
    assert t1.genant_grade == 2


def test_genants_thresholds() -> None:
    losses = [0.0, 0.199, 0.2, 0.249, 0.25, 0.399, 0.4, 0.9]
    assert [genant_grade(loss) for loss in losses] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pickhardts_thresholds() -> None:
    assert pickhardt_category(110) == "at most 110 HU"
    assert pickhardt_category(110.1) == pickhardt_category(135) == "above 110 to 135 HU"
    assert pickhardt_category(160) == "above 135 to 160 HU"
    assert pickhardt_category(160.1) == "above 160 HU"


def cropped(ct: Volume, mask: np.ndarray, box: tuple[slice, ...]) -> tuple[Volume, np.ndarray]:
    affine = ct.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start or 0 for side in box]
    return Volume(ct.array[box], affine, ct.native), mask[box]


def test_a_body_cut_by_the_border_is_suppressed() -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2), Solid(L3)])
    top = np.flatnonzero((mask == L1).any(axis=(0, 1)))[-1]
    found = measures(*cropped(ct, mask, np.s_[:, :, : top - 6]))
    assert not found["L1"].complete and not found["L1"].body_complete
    assert all(getattr(found["L1"], field) is None for field in ("volume_ml", *BODY_VALUES))
    assert any("body cut by the field of view" in reason for reason in found["L1"].suppressed)
    assert found["L2"].complete and found["L2"].height_anterior_mm is not None
    assert "L1" in " ".join(summarise(list(found.values())).suppressed)


def test_a_cut_process_suppresses_the_volume_alone() -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2)])
    left = np.flatnonzero((mask > 0).any(axis=(1, 2)))[0]
    one = measures(*cropped(ct, mask, np.s_[left + 10 :, :, :]))["L1"]
    assert not one.complete and one.body_complete
    assert one.volume_ml is None
    np.testing.assert_allclose(heights_of(one), 26, atol=1.1)


def test_padding_counts_as_outside_the_scan() -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2)])
    x, _, z = np.indices(mask.shape)
    outside = x + z > np.quantile((x + z)[mask == L1], 0.9)
    array = np.where(outside, -2048, ct.array).astype(np.int16)
    found = measures(dataclasses.replace(ct, array=array), np.where(outside, 0, mask))
    assert not found["L1"].body_complete and found["L1"].trabecular_hu is None
    assert found["L2"].body_complete


def test_atlas_and_axis_have_a_volume_alone() -> None:
    for one in measure_vertebrae(*straight_spine([Solid(1), Solid(2), Solid(3)]))[:2]:
        assert one.volume_ml is not None
        assert all(getattr(one, field) is None for field in BODY_VALUES)
        assert one.suppressed


@pytest.mark.parametrize("hu", [1700, 3000])
def test_cement_and_metal_suppress_attenuation(hu: int) -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2)])
    centre = np.array(ndimage.center_of_mass(mask == L1)) + np.array([0, 12, 0])
    away = np.linalg.norm(np.moveaxis(np.indices(mask.shape), 0, -1) - centre, axis=-1)
    array = np.where(away < 7, hu, ct.array).astype(np.int16)
    found = measures(dataclasses.replace(ct, array=array), mask)
    assert found["L1"].foreign_material and found["L1"].trabecular_hu is None
    np.testing.assert_allclose(heights_of(found["L1"]), 26, atol=1.1)
    assert not found["L2"].foreign_material
    assert summarise(list(found.values())).l1_hu is None


def test_a_filled_canal_is_reported_and_not_measured() -> None:
    ct, mask = straight_spine([Solid(L1)])
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(mask > 0, iterations=12))
    (one,) = measure_vertebrae(ct, np.where(filled, L1, 0).astype(np.uint8))
    assert one.height_anterior_mm is None and one.trabecular_hu is None
    assert any("canal" in reason for reason in one.suppressed)


def test_thick_slices_have_no_heights() -> None:
    solids = [Solid(L1), Solid(L2)]
    axial = measures(*straight_spine(solids, (0, 0, 0), (1, 1, 5)))
    sagittal = measures(*straight_spine(solids, (0, 0, 0), (5, 1, 1)))
    for name in ("L1", "L2"):
        assert axial[name].suppressed == ("heights (slices too thick)",)
        assert axial[name].height_middle_mm is None and axial[name].genant_grade is None
        assert axial[name].trabecular_hu is not None
        assert sagittal[name].height_middle_mm == pytest.approx(26, abs=1.1)


def test_an_unsure_vertebra_has_a_volume_alone() -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2)])
    sure, unsure = measure_vertebrae(ct, mask, unsure=[L2])
    assert unsure.volume_ml is not None and "unsure" in unsure.suppressed[0]
    assert all(getattr(unsure, field) is None for field in BODY_VALUES)
    assert sure.height_reference == "own posterior height"


@pytest.mark.parametrize("voxels", [1, 8, 300])
def test_specks_are_measured_without_failing(voxels: int) -> None:
    ct, mask = straight_spine([Solid(L1)])
    mask[20 : 20 + voxels, 20, 20] = 5
    found = measures(ct, mask)
    assert found["C5"].height_anterior_mm is None
    assert found["L1"].height_anterior_mm is not None


def test_an_empty_mask_has_no_measures() -> None:
    ct, mask = straight_spine([Solid(L1)])
    assert measure_vertebrae(ct, np.zeros_like(mask)) == []
    summary = summarise([])
    assert summary.l1_hu is summary.t12_l3_hu is summary.highest_genant_grade is None
    assert summary.notice == RESEARCH_USE_ONLY


def test_a_mask_on_another_grid_is_refused() -> None:
    ct, mask = straight_spine([Solid(L1)])
    with pytest.raises(ValueError, match="shape"):
        measure_vertebrae(ct, mask[1:])


def test_the_summary_leaves_deformed_levels_out() -> None:
    def one(label: int, name: str, hu: float, grade: int) -> VertebraMeasures:
        return VertebraMeasures(label, name, True, True, trabecular_hu=hu, genant_grade=grade)

    summary = summarise([one(19, "T12", 120, 0), one(20, "L1", 200, 2), one(21, "L2", 100, 0)])
    assert summary.l1_hu is None
    assert (summary.t12_l3_hu, summary.t12_l3_levels) == (110, ("T12", "L2"))
    assert (summary.highest_genant_grade, summary.highest_genant_levels) == (2, ("L1",))
    assert summary.suppressed == ("L1: summaries of HU (grade 2 loss of height)",)
    assert summary.outliers == ()


def spine_of(hu: dict[str, float], **grades: int) -> list[VertebraMeasures]:
    return [
        VertebraMeasures(IDS[name], name, True, True, trabecular_hu=value,
                         genant_grade=grades.get(name, 0))
        for name, value in hu.items()
    ]  # fmt: skip


def test_a_level_that_disagrees_with_its_neighbours_is_named_and_left_out() -> None:
    # A real degenerated loin (VerSe's sub-verse014).
    hu = {"L1": 234.0, "L2": 101.6, "L3": 84.1, "L4": 89.6, "L5": 162.2}
    summary = summarise(spine_of(hu))
    assert summary.outlier_levels == ("L1", "L5")
    assert summary.outliers[0].startswith(
        "L1: 234 HU, 141 HU above the median of L2 and L3 (93 HU)"
    )
    assert (summary.t12_l3_hu, summary.t12_l3_levels) == (92.8, ("L2", "L3"))
    assert summary.hu_category == "at most 110 HU" and summary.l1_hu is None
    assert summary.suppressed == ("L1: summaries of HU (disagrees with its neighbours)",)


@pytest.mark.parametrize(
    "hu",
    [
        {"T11": 190.0, "T12": 176, "L1": 168, "L2": 160, "L3": 150, "L4": 158},
        {"T12": 60.0, "L1": 95, "L2": 55, "L3": 58},
        {"L1": 300.0, "L2": 100},
        {"C3": 330.0, "C4": 120, "C5": 310},
    ],
)
def test_even_levels_small_differences_and_few_neighbours_give_no_outlier(hu) -> None:
    assert summarise(spine_of(hu)).outlier_levels == ()


def test_a_dark_level_is_named_and_deformed_ones_are_nobodys_neighbour() -> None:
    hu = {"T11": 320.0, "T12": 150, "L1": 145, "L2": 60, "L3": 150}
    summary = summarise(spine_of(hu, T11=3))
    assert summary.outlier_levels == ("L2",)
    assert "L2: 60 HU, 90 HU below the median of T12, L1 and L3 (150 HU)" in summary.outliers[0]
    assert summary.t12_l3_hu == 150 and summary.t12_l3_levels == ("T12", "L1", "L3")


def test_measures_and_summary_are_plain_values() -> None:
    found = measure_vertebrae(*straight_spine([Solid(L1), Solid(L2)]))
    plain = [dataclasses.asdict(one) for one in found], dataclasses.asdict(summarise(found))
    json.dumps(plain)
    values = {type(value) for one in found for value in vars(one).values()}
    assert values <= {int, str, bool, float, tuple, type(None)}


@pytest.mark.parametrize("seed", range(4))
def test_isolated_bodies_are_the_phantoms_bodies(seed: int) -> None:
    phantom = generate_phantom(seed, preset("demo"))
    scene = sample_scene(RandomStreams.from_seed(seed), preset("demo"))
    np.testing.assert_array_equal(scene.grid.affine, phantom.affine)
    ct = volume(phantom.ct, phantom.affine)
    boxes = label_boxes(phantom.mask)
    frames = first_frames(phantom.mask, phantom.affine, boxes)
    for name in phantom.truth["levels"]:
        vertebra = scene.subject.vertebrae[name]
        if vertebra.label <= 2 or touches_border(boxes[vertebra.label], phantom.mask.shape):
            continue
        labelled = LabelledVertebra(ct, phantom.mask, vertebra.label, boxes[vertebra.label])
        isolated = isolated_body(labelled, frames[vertebra.label])
        assert isolated is not None
        local, body = isolated
        true = true_body(vertebral_body(scene.grid, vertebra), phantom.mask.shape, ct, local)
        dice = 2 * np.sum(true & body.inside) / (true.sum() + body.inside.sum())
        assert dice > (0.78 if vertebra.region == "cervical" else 0.91), (name, dice)
        tilt = np.rad2deg(np.arccos(local.frame.axes[:, 2] @ vertebra.frame.axes[:, 2]))
        assert tilt < 13, (name, tilt)


def volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    x, y, z = array.shape
    return Volume(array, affine, Geometry((x, y, z), affine))


def touches_border(box: Box, shape: tuple[int, ...]) -> bool:
    return 0 in box.start or any(np.equal(box.stop, shape))


def true_body(patch, shape: tuple[int, ...], ct: Volume, local: LocalVolume) -> np.ndarray:
    inside = np.zeros(shape, np.uint8)
    inside[patch.region] = patch.distance < 0
    body = LabelledVertebra(ct, inside, 1, Box.whole(shape))
    upper = local.lower_mm + local.step_mm * (np.array(local.occupancy.shape) - 0.5)
    return resample(body, local.frame, local.step_mm, local.lower_mm, upper).occupancy >= 0.5


# Parts of the measurement


def test_a_resampled_vertebra_is_its_own_voxels_where_the_grids_coincide() -> None:
    rng = np.random.default_rng(2)
    ct = volume(rng.integers(-100, 900, (30, 28, 26)).astype(np.int16), np.diag([1.0, 1, 1, 1]))
    mask = np.zeros(ct.array.shape, np.uint8)
    mask[12:18, 10:19, 11:16] = L1
    mask[12:18, 10:19, 16:20] = L2
    vertebra = LabelledVertebra(ct, mask, L1, label_boxes(mask)[L1])
    np.testing.assert_array_equal(vertebra.inside(vertebra.box), True)
    corner = np.array([4.0, 2, 3])
    local = resample(
        vertebra, VertebraFrame(corner, np.eye(3)), 1.0, np.zeros(3), np.array([21.0, 24, 20])
    )
    np.testing.assert_array_equal(local.occupancy, (mask == L1)[4:26, 2:27, 3:24])
    np.testing.assert_array_equal(local.hu, ct.array[4:26, 2:27, 3:24])


def test_voxels_far_from_a_vertebra_have_no_attenuation() -> None:
    ct = volume(np.zeros((40, 40, 40), np.int16), np.eye(4))
    mask = np.zeros(ct.array.shape, np.uint8)
    mask[2:12, 2:12, 2:12] = L1
    vertebra = LabelledVertebra(ct, mask, L1, label_boxes(mask)[L1])
    frame = VertebraFrame(np.zeros(3), np.eye(3))
    local = resample(vertebra, frame, 1.0, np.full(3, -3.0), np.full(3, 39.0))
    seen = np.argwhere(~np.isnan(local.hu)) - 3
    # The crop around the vertebra ends 12 mm beside it, or at the border of the scan.
    assert (seen.min(), seen.max()) == (0, 23)


def test_a_box_holds_the_voxels_around_which_it_lies() -> None:
    solid = np.zeros((6, 7, 8), bool)
    solid[1, 2:5, 3] = solid[2, 3, 6] = True
    assert box_around(solid) == Box((1, 2, 3), (3, 5, 7))


def block(canal_depth: int, filled_share: float = 0.0) -> LocalVolume:
    """A body 30 mm deep before a canal, behind which lies a plate; 1 mm voxels.

    Args:
        canal_depth: depth of the canal in voxels.
        filled_share: share of the canal's height that is filled with bone.
    """
    occupancy = np.zeros((60, 60, 40), np.float32)
    occupancy[10:50, 25:55, 8:32] = 1
    occupancy[10:50, 25 - canal_depth - 4 : 25 - canal_depth, 8:32] = 1
    filled = round(8 + filled_share * 24)
    occupancy[10:50, 25 - canal_depth : 25, 8:filled] = 1
    frame = VertebraFrame(np.zeros(3), np.eye(3))
    lower = np.array([-29.5, -40.0, -20.0])
    return LocalVolume(frame, 1.0, lower, occupancy, np.zeros_like(occupancy))


def test_the_back_wall_of_a_block_lies_before_its_canal() -> None:
    body = isolate_body(block(canal_depth=12))
    assert body is not None
    np.testing.assert_allclose(body.back_mm, -15.5)
    assert box_around(body.inside).start[1] == 25


@pytest.mark.parametrize(("canal_depth", "filled_share"), [(4, 0.0), (12, 0.5)])
def test_a_shallow_or_half_filled_gap_is_not_a_canal(canal_depth, filled_share) -> None:
    assert isolate_body(block(canal_depth, filled_share)) is None


def test_a_wall_seen_at_two_heights_alone_is_straight() -> None:
    heights, places = np.repeat([0.0, 8.0], 20), np.tile([-10.0, -10.0, -11.0, -10.0], 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wall = _robust_curve(heights, places, np.arange(-4.0, 14.0))
    np.testing.assert_array_equal(wall, -10.0)


def test_phantoms_are_compared_with_their_truth(tmp_path: Path) -> None:
    phantom = generate_phantom(3, preset("demo"))
    paths = write_verse_scan(phantom, tmp_path, "sub-phantom0001", "PIR")
    sample = Sample("s", "s", str(paths.ct), str(paths.mask), str(paths.centroids))
    table = pd.DataFrame(compare_scan(sample))
    assert list(table["name"]) == phantom.truth["levels"]
    assert table["found"].all()
    first = table.iloc[-1]
    assert first["true_trabecular_hu"] == pytest.approx(
        phantom.truth["trabecular_hu"][first["name"]] + phantom.truth["calibration_offset_hu"]
    )
    limits = agreement(table).set_index(["quantity", "region"])
    assert abs(limits.loc[("trabecular HU", "all"), "bias"]) < 15
    assert abs(limits.loc[("middle height in mm", "all"), "bias"]) < 1
    again = pd.DataFrame(compare_scan(sample, str(paths.mask)))
    pd.testing.assert_frame_equal(again, table)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(5, preset("demo"))


@pytest.fixture(scope="module")
def drawn_coarsely(phantom: Phantom) -> tuple[Volume, np.ndarray]:
    """CT of the phantom, and its mask thickened as by a network with cells of 2.5 mm."""
    reach, nearest = ndimage.distance_transform_edt(
        phantom.mask == 0, np.diag(phantom.affine)[:3], return_indices=True
    )
    fat = np.where(reach <= 1.5, phantom.mask[tuple(nearest)], 0).astype(np.uint8)
    native = Geometry(phantom.ct.shape, phantom.affine)
    return Volume(phantom.ct, phantom.affine, native), fat


def test_coarse_outlines_get_a_wider_rim(phantom, drawn_coarsely) -> None:
    truth, offset = phantom.truth["trabecular_hu"], phantom.truth["calibration_offset_hu"]
    biases = []
    for cell_mm in (0, 2.5):
        measured = measure_vertebrae(*drawn_coarsely, cell_mm=cell_mm)
        biases.append(
            np.mean([one.trabecular_hu - truth[one.name] - offset
                     for one in measured if one.trabecular_hu is not None])
        )  # fmt: skip
    assert biases[0] > biases[1] + 2 and abs(biases[1]) < 15


def test_coarse_outlines_show_no_heights(drawn_coarsely) -> None:
    measured = measure_spine(*drawn_coarsely, cell_mm=2.5)
    assert any(one.height_middle_mm for one in measured.vertebrae)
    assert without_coarse_outlines(measured, 1.5) == measured
    coarse = without_coarse_outlines(measured, 2.5)
    assert measured.shape.segments[0].disc_height_middle_mm is not None
    assert {one.disc_height_middle_mm for one in coarse.shape.segments} == {None}
    assert coarse.shape.suppressed[-1] == "disc heights (outlines drawn on cells of 2.5 mm)"
    slips = [[one.slip_mm for one in spine.shape.segments] for spine in (measured, coarse)]
    assert slips[0] == slips[1]
    for before, after in zip(measured.vertebrae, coarse.vertebrae, strict=True):
        assert heights_of(after) == [None, None, None]
        assert after.height_loss is after.genant_grade is after.fracture_shape is None
        assert after.trabecular_hu == before.trabecular_hu
        reported = "heights (outlines drawn on cells of 2.5 mm)" in after.suppressed
        assert reported == (before.height_middle_mm is not None)


def test_outlines_from_the_ct_show_heights_of_thoracic_and_lumbar_vertebrae(drawn_coarsely) -> None:
    measured = measure_spine(*drawn_coarsely, cell_mm=2.5)
    shown = [one.label for one in measured.vertebrae if one.height_middle_mm is not None]
    kept = {shown[0]: "slices are thick"}
    for before, after in zip(
        measured.vertebrae, without_coarse_outlines(measured, 2.5, kept).vertebrae, strict=True
    ):
        if after.label in kept:
            assert heights_of(after) == [None, None, None]
            assert after.suppressed[-1].endswith("2.5 mm, since slices are thick)")
        elif after.label <= 7:
            assert heights_of(after) == [None, None, None]
        else:
            assert after == before


def test_no_heights_without_end_plates_in_the_ct() -> None:
    ct, mask = straight_spine([Solid(L1), Solid(L2)])
    even = dataclasses.replace(ct, array=np.full_like(ct.array, 60))
    for one in measure_vertebrae(even, mask, from_ct=[L1, L2]):
        assert heights_of(one) == [None, None, None]
        assert UNCLEAR_PLATES in one.suppressed


def columns(lower: float = -10.0, upper: float = 10.0) -> EndPlates:
    """Flat end-plates of a body 30 mm wide and deep."""
    right, forward = (part.ravel() for part in np.mgrid[-15.0:16, -15.0:16])
    return EndPlates(right, forward, np.full(right.shape, lower), np.full(right.shape, upper))


def shown_in_ct(local: LocalVolume, plates: EndPlates) -> EndPlates | None:
    planes = planes_in_ct(local, plates)
    return None if planes is None else plates_in_ct(local, plates, planes)


def layered(disc_mm: float, disc_hu: float) -> LocalVolume:
    """Bodies 20 mm high on one another, with end-plates of 3 mm; the middle one around 0."""
    up = np.arange(-30, 31) + 0.5
    away = np.abs(up)
    profile = np.full(up.shape, 120.0)
    profile[(away > 10) & (away < 10 + disc_mm)] = disc_hu
    plate = (away > 7) & (away < 10) | (away > 10 + disc_mm) & (away < 13 + disc_mm)
    profile[plate] = 400
    hu = np.broadcast_to(profile, (41, 41, len(up))).astype(np.float32)
    frame = VertebraFrame(np.zeros(3), np.eye(3))
    return LocalVolume(frame, 1.0, np.array([-20, -20, up[0]]), np.zeros_like(hu), hu)


@pytest.mark.parametrize(("lower", "upper"), [(-10, 10), (-16, 10), (-5, 15), (-15, 5), (-10, 14)])
def test_a_mask_that_is_off_by_a_disc_shows_the_bodys_own_end_plates(lower, upper) -> None:
    plates = columns(lower, upper)
    plates.upper[plates.forward > 8] = 18
    shown = shown_in_ct(layered(4, 60), plates)
    assert shown is not None
    np.testing.assert_allclose(shown.lower, -10, atol=0.3)
    np.testing.assert_allclose(shown.upper, 10, atol=0.3)
    heights = body_heights(shown, in_ct=True)
    assert heights is not None
    np.testing.assert_allclose(dataclasses.astuple(heights), 20, atol=0.5)


def test_end_plates_are_not_guessed_where_the_ct_merges_them_with_the_neighbours() -> None:
    assert shown_in_ct(layered(2, 390), columns()) is None
    assert shown_in_ct(layered(2, 290), columns()) is None


def test_a_mask_around_parts_of_two_bodies_shows_no_end_plates() -> None:
    assert shown_in_ct(layered(4, 60), columns(-4, 32)) is None


def test_cement_in_a_body_is_no_end_plate() -> None:
    local = layered(4, 60)
    local.hu[:, :, np.abs(local.coordinates(2)) < 2] = 1500
    assert shown_in_ct(local, columns()) is None


def test_tilted_end_plates_are_found_where_a_border_of_labels_is_straight() -> None:
    solids = [Solid(L1, 27, 25, 27), Solid(L2, 27, 25, 27), Solid(L3, 27, 25, 27)]
    ct, mask = straight_spine(solids, (12, 0, 0), blur_mm=0.7)
    # Straight borders in the discs' middle, on the scan's axial planes.
    centre = ndimage.center_of_mass(mask == L2)[2]
    mask[mask == L2] = 0
    body = measure_vertebrae(*straight_spine(solids, (12, 0, 0), blur_mm=0.7))[1]
    whole = straight_spine(solids, (12, 0, 0), blur_mm=0.7)[1] > 0
    up = np.arange(mask.shape[2])
    mask[whole & (np.abs(up - centre) < 15)] = L2
    one = measure_vertebrae(ct, mask, from_ct=[L2])[1]
    assert one.name == "L2"
    np.testing.assert_allclose(heights_of(one), heights_of(body), atol=1.2)


def test_neighbours_whose_end_plates_overlap_have_no_heights() -> None:
    found = measure_vertebrae(*straight_spine([Solid(T12), Solid(L1), Solid(L2)]))

    def seen(one: VertebraMeasures, height: float, lower: float, upper: float) -> SeenVertebra:
        middles = np.array([[0, 0, lower], [0, 0, upper]])
        return SeenVertebra(one, np.array([0, 0, height]), Heights(20, 20, 20), None, middles)

    column = [seen(found[0], 30, 18, 40), seen(found[1], 0, -10, 10), seen(found[2], -30, -40, -8)]
    left = [one.heights is not None for one in without_overlaps(column)]
    assert left == [True, False, False]
    assert OVERLAPPING in without_overlaps(column)[1].measures.suppressed
    assert heights_of(without_overlaps(column)[2].measures) == [None, None, None]


@pytest.mark.parametrize("wrong_mm", [np.nan, 5])
def test_an_end_plate_hidden_at_the_front_gives_no_heights(wrong_mm: float) -> None:
    plates = columns()
    assert body_heights(plates, in_ct=True) == Heights(*[pytest.approx(20)] * 3)
    plates.upper[plates.forward > 6] += wrong_mm * np.sign(plates.right[plates.forward > 6])
    assert body_heights(plates, in_ct=True) is None


def test_mislabelled_predictions_are_not_compared(tmp_path: Path, save_nifti) -> None:
    phantom = generate_phantom(3, preset("demo"))
    paths = write_verse_scan(phantom, tmp_path, "sub-phantom0001", "RAS")
    shifted = np.where(phantom.mask > 0, phantom.mask % 25 + 1, 0).astype(np.uint8)
    wrong = save_nifti("wrong.nii.gz", shifted, phantom.affine)
    sample = Sample("s", "s", str(paths.ct), str(paths.mask), str(paths.centroids))
    assert not pd.DataFrame(compare_scan(sample, str(wrong)))["found"].any()


def test_scans_without_a_phantoms_description_are_refused(tmp_path: Path) -> None:
    sample = Sample("s", "s", "ct.nii.gz", str(tmp_path / "x_seg-vert_msk.nii.gz"))
    with pytest.raises(UserError, match=r"x_phantom\.json"):
        compare_scan(sample)


def test_bias_and_limits_of_known_differences() -> None:
    table = pd.DataFrame(
        {
            "scan": ["a", "a", "b", "b"],
            "region": ["lumbar"] * 4,
            "true_trabecular_hu": [100.0, 110, 120, 130],
            "trabecular_hu": [101.0, 113, 125, None],
            **{f"{p}height_{k}_mm": np.nan for p in ("true_", "") for k in
               ("anterior", "middle", "posterior")},
        }
    )  # fmt: skip
    row = agreement(table).set_index(["quantity", "region"]).loc[("trabecular HU", "lumbar")]
    assert (row["vertebrae"], row["scans"], row["bias"], row["sd"]) == (3, 2, 3, 2)
    assert (row["lower_limit"], row["upper_limit"]) == pytest.approx((3 - 3.92, 3 + 3.92))


def test_grades_are_counted_by_kind_of_fracture() -> None:
    table = pd.DataFrame(
        {"fracture": ["none", "none", "wedge", "wedge"], "genant_grade": [0, 1, 2, None]}
    )
    counts = grade_counts(table).set_index("fracture")
    assert counts.loc["none"].tolist() == [1, 1, 0, 0]
    assert counts.loc["wedge"].tolist() == [0, 0, 1, 0]


def test_the_real_sample_has_plausible_measures(verse014: Path) -> None:
    ct = load_ct(f"{verse014}_ct.nii.gz")
    found = measures(ct, load_mask(f"{verse014}_seg-vert_msk.nii.gz", ct.native).array)
    assert list(found) == ["L1", "L2", "L3", "L4", "L5"]
    for one in found.values():
        # The crop is 80 mm wide: it shows the bodies, but cuts the transverse processes.
        assert one.body_complete
        assert one.volume_ml is None
        assert all(20 < height < 34 for height in heights_of(one))
        assert 18 < one.body_volume_ml < 45
        assert 50 < one.trabecular_hu < 260
        assert not one.foreign_material
        assert one.genant_grade == 0
    summary = summarise(list(found.values()))
    # L1 has more than twice the HU of L2 to L4, and L5 nearly.
    assert summary.outlier_levels == ("L1", "L5")
    assert summary.t12_l3_levels == ("L2", "L3") and summary.hu_category == "at most 110 HU"


def test_masks_without_a_vertebra_have_no_agreement() -> None:
    row = {"scan": "a", "region": "lumbar", "fracture": "none", **dict.fromkeys(MEASURED)}
    table = pd.DataFrame([row | {f"true_{field}": 1.0 for field in QUANTITIES}])
    limits = agreement(table)
    assert (limits["vertebrae"] == 0).all() and limits["bias"].isna().all()
    assert grade_counts(table).empty
