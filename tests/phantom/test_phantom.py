"""Embedded data set: determinism, VerSe's layout, plausible anatomy, no shortcut to levels."""

import json
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, RANK
from vertseg.core.errors import UserError
from vertseg.dataset.audit import audit_scan
from vertseg.dataset.samples import Sample
from vertseg.phantom import (
    ORIENTATIONS,
    Phantom,
    PhantomSettings,
    generate_phantom,
    preset,
    scan_seed,
    write_phantom_dataset,
    write_verse_scan,
)
from vertseg.phantom.geometry import Frame, rotation
from vertseg.phantom.landmarks import sample_landmarks
from vertseg.phantom.morphometry import morphometry
from vertseg.phantom.raster import DistanceField, Grid, capsule, ellipsoid
from vertseg.phantom.scene import sample_scene
from vertseg.phantom.spine import sample_subject
from vertseg.phantom.streams import RandomStreams
from vertseg.phantom.subject import Subject, fracture
from vertseg.phantom.view import posed, sample_field_of_view, sample_grid, visible_share

DEMO = preset("demo")
SMALL = replace(DEMO, in_plane_spacing_mm=(2.0, 2.0), slice_spacing_mm=(2.5, 2.5))
SEEDS = range(8)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [generate_phantom(seed, DEMO) for seed in SEEDS]


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [sample_subject(np.random.default_rng(seed), DEMO) for seed in range(300)]


@pytest.fixture(scope="module")
def small() -> Phantom:
    return generate_phantom(3, SMALL)


def voxel_at(phantom: Phantom, point_mm: np.ndarray) -> tuple[int, ...]:
    voxel = nib.affines.apply_affine(np.linalg.inv(phantom.affine), point_mm)
    return tuple(np.round(voxel).astype(int))


# Primitives against brute force


@given(
    start=st.tuples(*[st.floats(-6, 6)] * 3),
    end=st.tuples(*[st.floats(-6, 6)] * 3),
    radius=st.floats(1, 4),
    angle=st.floats(-90, 90),
)
@settings(max_examples=40, deadline=None)
def test_capsule_is_the_distance_to_a_segment(start, end, radius, angle):
    grid = Grid(np.array([-15.0, -14, -16]), np.array([3.0, 2.5, 4]), (11, 12, 9))
    frame = Frame(np.array([1.0, -2, 0.5]), rotation("x", angle) @ rotation("z", 20))
    first, last = frame.to_world(start), frame.to_world(end)
    samples = first + np.linspace(0, 1, 400)[:, None] * (last - first)

    field = DistanceField(grid)
    field.add(capsule(grid, frame, start, end, (radius, radius)), owner=5)

    voxels = np.moveaxis(np.indices(grid.shape), 0, -1) * grid.spacing + grid.origin
    expected = np.linalg.norm(voxels[..., None, :] - samples, axis=-1).min(axis=-1) - radius
    np.testing.assert_array_equal(
        (field.distance < 0)[np.abs(expected) > 0.1], (expected < 0)[np.abs(expected) > 0.1]
    )
    inside = expected < -0.1
    np.testing.assert_allclose(field.distance[inside], expected[inside], atol=0.05)
    assert set(np.unique(field.owner)) <= {0, 5}


def test_ellipsoid_has_its_volume_and_nothing_outside_the_grid():
    grid = Grid(np.full(3, -20.0), np.full(3, 0.5), (80, 80, 80))
    frame = Frame(np.zeros(3), rotation("y", 30))
    patch = ellipsoid(grid, frame, (5, 8, 12))
    volume = (patch.distance < 0).sum() * 0.5**3
    assert volume == pytest.approx(4 / 3 * np.pi * 5 * 8 * 12, rel=0.02)
    assert ellipsoid(grid, Frame(np.full(3, 100.0), np.eye(3)), (5, 8, 12)) is None


# Random streams


@dataclass(frozen=True)
class MoreStreams(RandomStreams):
    clouds: np.random.Generator


def test_a_new_stream_leaves_the_draws_of_the_others():
    usual, more = RandomStreams.from_seed(6), MoreStreams.from_seed(6)
    for stream in fields(RandomStreams):
        one, other = (getattr(streams, stream.name) for streams in (usual, more))
        np.testing.assert_array_equal(one.random(5), other.random(5))


def test_streams_are_those_of_the_first_phantoms():
    spawned = np.random.SeedSequence(6).spawn(10)
    names = [
        *("anatomy", "view", "landmarks", "bones", "tissue", "scan"),
        *("degeneration", "viscera", "surroundings", "limb"),
    ]
    assert [stream.name for stream in fields(RandomStreams)][:10] == names
    streams = RandomStreams.from_seed(6)
    draws = [getattr(streams, name).random() for name in names]
    assert draws == [np.random.default_rng(sequence).random() for sequence in spawned]
    assert len(set(draws)) == len(names)


def test_a_stream_changes_its_own_stage_alone():
    usual = sample_scene(RandomStreams.from_seed(6), DEMO)
    streams = replace(RandomStreams.from_seed(6), landmarks=np.random.default_rng(1))
    changed = sample_scene(streams, DEMO)
    assert changed.landmarks != usual.landmarks
    assert (changed.view, changed.contrast) == (usual.view, usual.contrast)
    np.testing.assert_array_equal(changed.grid.affine, usual.grid.affine)
    for name, vertebra in usual.subject.vertebrae.items():
        np.testing.assert_array_equal(changed.subject.vertebrae[name].centre, vertebra.centre)


# One scan


def test_same_seed_same_bytes(tmp_path: Path, small: Phantom):
    again = generate_phantom(3, SMALL)
    first = write_verse_scan(small, tmp_path / "a", "sub-phantom0001", "PIR")
    second = write_verse_scan(again, tmp_path / "b", "sub-phantom0001", "PIR")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not np.array_equal(generate_phantom(4, SMALL).ct, small.ct)


def test_types_and_shapes(small: Phantom):
    assert (small.ct.dtype, small.mask.dtype) == (np.int16, np.uint8)
    assert small.ct.shape == small.mask.shape
    assert nib.aff2axcodes(small.affine) == ("R", "A", "S")
    assert set(np.unique(small.mask)) - {0} == set(small.centroids_mm)


def test_centroids_lie_in_their_body(phantoms: list[Phantom]):
    for phantom in phantoms:
        for label, centre in phantom.centroids_mm.items():
            if NAMES[label] == "C1":
                continue
            assert phantom.mask[voxel_at(phantom, centre)] == label


def test_atlas_point_is_its_rings_centre_of_mass(phantoms: list[Phantom]):
    atlases = [phantom for phantom in phantoms if IDS["C1"] in phantom.centroids_mm]
    assert atlases
    for phantom in atlases:
        mass = ndimage.center_of_mass(phantom.mask == IDS["C1"])
        mass_mm = nib.affines.apply_affine(phantom.affine, mass)
        assert np.linalg.norm(mass_mm - phantom.centroids_mm[IDS["C1"]]) < 5


def test_labels_are_contiguous_and_descend(phantoms: list[Phantom]):
    for phantom in phantoms:
        labels = sorted(phantom.centroids_mm, key=RANK.__getitem__)
        assert [NAMES[label] for label in labels] == phantom.truth["levels"]
        heights = [phantom.centroids_mm[label][2] for label in labels]
        assert all(np.diff(heights) < 0)


def test_hu_are_those_of_bone_soft_tissue_and_lung(phantoms: list[Phantom]):
    for phantom in phantoms:
        bone = np.median(phantom.ct[phantom.mask > 0])
        near = ndimage.binary_dilation(phantom.mask > 0, iterations=6) & (phantom.mask == 0)
        soft = np.median(phantom.ct[near & (phantom.ct > -300) & (phantom.ct < 150)])
        assert 100 < bone < 900
        assert 0 < soft < 100 < bone
        assert phantom.ct.min() >= -1024
        assert phantom.ct.max() <= 3071


def test_lung_is_air_beside_the_thoracic_spine():
    thoracic = replace(SMALL, field_of_view={"thoracic": 1.0})
    shares = []
    for seed in range(4):
        phantom = generate_phantom(seed, thoracic)
        shares.append(((phantom.ct > -950) & (phantom.ct < -700)).mean())
    assert min(shares) > 0.05


def test_trabecular_truth_is_what_the_scan_shows():
    quiet = replace(
        DEMO,
        noise_sd_hu=(1.0, 1.0),
        cement_share=0.0,
        screw_share=0.0,
        field_of_view={"lumbar": 1.0},
    )
    phantom = generate_phantom(2, quiet)
    spacing = np.diag(phantom.affine)[:3]
    differences = []
    for level, hu in phantom.truth["trabecular_hu"].items():
        x, y, z = voxel_at(phantom, phantom.centroids_mm[IDS[level]])
        i, j, k = np.ceil(np.array([8, 6, 4]) / spacing).astype(int)
        core = phantom.ct[x - i : x + i + 1, y - j : y + j + 1, z - k : z + k + 1]
        differences.append(core.mean() - hu - phantom.truth["calibration_offset_hu"])
    assert np.abs(differences).max() < 15
    assert abs(np.mean(differences)) < 5


def test_body_heights_are_those_of_the_mask():
    upright = replace(
        DEMO,
        pose_sd_deg=(0.0, 0.0, 0.0),
        field_of_view={"lumbar": 1.0},
        slice_spacing_mm=(1.0, 1.0),
        sagittal_share=0.0,
    )
    phantom = generate_phantom(7, upright)
    for level, heights in phantom.truth["body_heights_mm"].items():
        x, y, _ = voxel_at(phantom, phantom.centroids_mm[IDS[level]])
        column = (phantom.mask[x, y] == IDS[level]).sum() * phantom.affine[2, 2]
        assert column == pytest.approx(heights["middle"], abs=3.0)


def test_visible_share_is_the_share_of_random_points_in_the_array():
    partial = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        upright = sample_subject(rng, DEMO)
        view = sample_field_of_view(rng, upright, DEMO)
        subject = posed(rng, upright, view, DEMO)
        grid = sample_grid(rng, subject, view, DEMO)
        for vertebra in subject.vertebrae.values():
            if vertebra.name == "C1":
                continue
            size = (vertebra.body_width, vertebra.body_depth, vertebra.rim_height)
            points = vertebra.frame.to_world(rng.uniform(-0.5, 0.5, (1000, 3)) * size)
            voxels = nib.affines.apply_affine(np.linalg.inv(grid.affine), points)
            inside = (np.round(voxels) >= 0) & (np.round(voxels) < grid.shape)
            share = inside.all(axis=1).mean()
            assert visible_share(vertebra, grid) == pytest.approx(share, abs=0.12)
            partial += 0 < share < 1
    assert partial > 10


def test_cut_vertebrae_are_background():
    cut = 0
    for seed in range(6):
        phantom = generate_phantom(seed, SMALL)
        everything = generate_phantom(seed, replace(SMALL, minimum_visible=0.01))
        extra = set(everything.centroids_mm) - set(phantom.centroids_mm)
        cut += len(extra)
        kept = np.where(np.isin(everything.mask, list(extra)), 0, everything.mask)
        np.testing.assert_array_equal(phantom.mask, kept)
    assert cut > 0


def test_the_sacrum_has_a_label_if_wished_and_looks_the_same():
    settings = replace(preset("demo"), field_of_view={"lumbar": 1.0}, length_mm=(320.0, 320.0))
    plain = generate_phantom(8, settings)
    labelled = generate_phantom(8, replace(settings, sacrum_labelled=True))
    np.testing.assert_array_equal(plain.ct, labelled.ct)
    sacrum = labelled.mask == 26
    assert sacrum.sum() * np.linalg.det(plain.affine[:3, :3]) > 5000
    assert not plain.mask[sacrum].any()
    np.testing.assert_array_equal(np.where(sacrum, 0, labelled.mask), plain.mask)


def test_omitting_lungs_fills_them_and_changes_nothing_else():
    thoracic = replace(SMALL, field_of_view={"thoracic": 1.0}, screw_share=0.0)
    with_lungs = generate_phantom(1, thoracic)
    without = generate_phantom(1, replace(thoracic, omit=frozenset({"lungs"})))
    np.testing.assert_array_equal(with_lungs.mask, without.mask)
    assert (with_lungs.ct < -500).mean() > (without.ct < -500).mean() + 0.05
    bone = ndimage.binary_erosion(with_lungs.mask > 0)
    difference = np.abs(with_lungs.ct[bone].astype(int) - without.ct[bone])
    assert np.median(difference) <= 1


@pytest.mark.parametrize("structure", ["ribs", "organs", "vessels", "skull", "shoulders", "pelvis"])
def test_omitted_structures_keep_the_labels(structure: str):
    whole = replace(SMALL, field_of_view={"whole": 1.0}, screw_share=0.0)
    usual = generate_phantom(5, whole)
    bare = generate_phantom(5, replace(whole, omit=frozenset({structure})))
    assert usual.centroids_mm.keys() == bare.centroids_mm.keys()
    changed = (usual.mask != bare.mask).sum()
    assert changed <= 0.02 * (usual.mask > 0).sum()
    assert not np.array_equal(usual.ct, bare.ct)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="lung"):
        PhantomSettings(omit=frozenset({"lung"}))
    with pytest.raises(ValueError, match="demoo"):
        preset("demoo")


# Variation for learning that transfers to real scans


VARIED = replace(
    SMALL,
    field_of_view={"lumbar": 1.0},
    lateral_margin_mm=(80.0, 90.0),
    anterior_margin_mm=(90.0, 100.0),
    screw_share=0.0,
    cement_share=0.0,
    fracture_share=0.0,
)


def of_bone(phantom: Phantom, percentile: float) -> float:
    return float(np.percentile(phantom.ct[phantom.mask > 0], percentile))


@pytest.mark.parametrize(
    "change",
    [
        {"cortical_hu": (1400.0, 1500.0)},
        {"cortical_width": (2.0, 2.0)},
        {"marrow_sd_hu": (80.0, 80.0)},
        {"muscle_share": 1.0},
        {"tissue_sd_hu": (20.0, 20.0)},
        {"organ_sd_hu": 60.0},
        {"calcified_share": 1.0},
        {"oral_contrast_share": 1.0},
        {"kernel": (2.2, 2.2)},
        {"sharpening": (1.5, 1.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_variation_of_the_look_changes_no_label(change: dict):
    usual = generate_phantom(4, VARIED)
    varied = generate_phantom(4, replace(VARIED, **change))
    np.testing.assert_array_equal(varied.mask, usual.mask)
    assert varied.truth == usual.truth
    assert (np.abs(varied.ct.astype(int) - usual.ct) > 15).any()
    again = generate_phantom(4, replace(VARIED, **change))
    np.testing.assert_array_equal(varied.ct, again.ct)


def test_cortex_and_marrow_are_as_bright_as_asked_for():
    usual = generate_phantom(4, VARIED)
    dense = generate_phantom(4, replace(VARIED, cortical_hu=(1900.0, 1900.0)))
    wide = generate_phantom(4, replace(VARIED, cortical_width=(2.0, 2.0)))
    uneven = generate_phantom(4, replace(VARIED, marrow_sd_hu=(90.0, 90.0)))
    assert of_bone(dense, 95) > 1.5 * of_bone(usual, 95)
    assert of_bone(wide, 50) > 1.15 * of_bone(usual, 50)
    bodies = [level for level in usual.truth["levels"] if level[0] == "L"]
    spread = []
    for phantom in (usual, uneven):
        eroded = ndimage.binary_erosion(phantom.mask > 0, iterations=2)
        inside = [phantom.ct[eroded & (phantom.mask == IDS[level])].std() for level in bodies]
        spread.append(np.mean(inside))
    # Noise between nodes is interpolated, which takes part of its SD of 90 HU.
    assert 25 < np.sqrt(spread[1] ** 2 - spread[0] ** 2) < 90


def test_thick_arches_and_osteophytes_enlarge_vertebrae_and_leave_their_centres():
    usual = generate_phantom(4, VARIED)
    thick = generate_phantom(4, replace(VARIED, arch_bulk=(1.4, 1.4)))
    worn = generate_phantom(4, replace(VARIED, degenerated_share=1.0))
    volume = (usual.mask > 0).sum()
    for varied, least, most in ((thick, 1.1, 1.6), (worn, 1.005, 1.2)):
        assert varied.centroids_mm.keys() == usual.centroids_mm.keys()
        for label, centre in usual.centroids_mm.items():
            np.testing.assert_array_equal(varied.centroids_mm[label], centre)
        assert least * volume < (varied.mask > 0).sum() < most * volume
        # Voxels are lost to unlabelled neighbours, which have grown, too.
        assert ((varied.mask == 0) & (usual.mask > 0)).sum() < 0.01 * volume


def test_worn_discs_hold_gas_and_worn_joints_are_dense():
    settings = replace(VARIED, degenerated_share=1.0, noise_sd_hu=(1.0, 1.0))
    gas, denser = 0, []
    for seed in range(6):
        healthy = generate_phantom(seed, replace(settings, degenerated_share=0.0))
        worn = generate_phantom(seed, settings)
        difference = worn.ct.astype(int) - healthy.ct
        both = (worn.mask == healthy.mask) & (worn.mask > 0)
        denser.append((difference[both] > 150).mean())
        gas += (difference < -150).any()
    assert gas >= 2
    assert np.mean(denser) > 0.02


def test_a_steeper_kernel_and_sharpening_make_edges_steeper():
    usual = generate_phantom(4, replace(VARIED, noise_sd_hu=(1.0, 1.0)))
    sharp = generate_phantom(4, replace(VARIED, noise_sd_hu=(1.0, 1.0), sharpening=(1.5, 1.5)))
    steepness = [np.abs(np.diff(one.ct.astype(float), axis=1)).mean() for one in (usual, sharp)]
    assert steepness[1] > 1.2 * steepness[0]


def test_table_and_arms_lie_outside_the_body():
    wide = replace(
        VARIED,
        sagittal_share=0.0,
        field_of_view={"thoracolumbar": 1.0},
        lateral_margin_mm=(270.0, 280.0),
        posterior_margin_mm=(115.0, 120.0),
    )
    for name in ("table_share", "arms_share"):
        seen = 0
        for seed in range(4):
            bare = generate_phantom(seed, wide)
            varied = generate_phantom(seed, replace(wide, **{name: 1.0}))
            np.testing.assert_array_equal(varied.mask, bare.mask)
            changed = np.argwhere(np.abs(varied.ct.astype(int) - bare.ct) > 60)
            if len(changed) < 0.001 * bare.ct.size:
                continue
            seen += 1
            assert np.median(bare.ct[tuple(changed.T)]) < -800
            body = np.flatnonzero((bare.ct > -300).any(axis=(0, 2)))
            behind = changed[:, 1] < body[0] + 40 / bare.affine[1, 1]
            assert behind.all() if name == "table_share" else behind.mean() < 0.5
        assert seen >= 2


def test_calcium_lies_before_the_spine():
    usual = generate_phantom(4, replace(VARIED, contrast_share=0.0))
    calcified = generate_phantom(4, replace(VARIED, contrast_share=0.0, calcified_share=1.0))
    added = (calcified.ct.astype(int) - usual.ct) > 250
    assert added.any() and not calcified.mask[added].any()
    front = max(centre[1] for centre in usual.centroids_mm.values())
    points = nib.affines.apply_affine(usual.affine, np.argwhere(added))
    assert np.median(points[:, 1]) > front


def test_curvature_spreads_as_asked_for():
    spreads = [
        np.std([
            sum(v.lordosis for v in subject.vertebrae.values() if v.region == "lumbar")
            for subject in (
                sample_subject(np.random.default_rng(seed), replace(DEMO, fracture_share=0.0,
                               variant={}, curvature_spread=factor))
                for seed in range(60)
            )
        ])
        for factor in (0.0, 1.0, 2.0)
    ]  # fmt: skip
    assert spreads[0] < 0.4 * spreads[1] < 0.8 * spreads[2]
    assert spreads[2] == pytest.approx(2 * spreads[1], rel=0.15)


def test_a_slipped_vertebra_takes_all_above_with_it():
    slipped = 0
    for seed in range(12):
        usual = sample_subject(np.random.default_rng(seed), DEMO)
        subject = sample_subject(np.random.default_rng(seed), replace(DEMO, slip_share=1.0))
        levels = list(usual.vertebrae)
        (level,) = (name for name, vertebra in subject.vertebrae.items() if vertebra.slip)
        assert level in levels[-3:]
        vertebra = subject.vertebrae[level]
        assert -0.15 <= vertebra.slip / vertebra.body_depth <= 0.35
        forwards = vertebra.frame.axes[:, 1]
        for name in levels:
            moved = subject.vertebrae[name].frame.origin - usual.vertebrae[name].frame.origin
            above = levels.index(name) <= levels.index(level)
            assert moved @ forwards == pytest.approx(vertebra.slip if above else 0, abs=1e-9)
        slipped += vertebra.slip > 0
    assert 6 <= slipped < 12
    assert not any(v.slip for v in usual.vertebrae.values())


def test_discs_are_as_narrow_as_asked_for():
    narrow = replace(DEMO, narrow_disc_share=1.0, narrow_disc=(0.1, 0.1))
    usual = sample_subject(np.random.default_rng(3), replace(DEMO, narrow_disc_share=0.0))
    subject = sample_subject(np.random.default_rng(3), narrow)
    for name, vertebra in usual.vertebrae.items():
        assert subject.vertebrae[name].disc_height == pytest.approx(0.1 * vertebra.disc_height)


@pytest.mark.parametrize("variant", ["T13", "L6", "no T12", "no L5", None])
def test_the_randomised_preset_suits_every_variant(variant: str | None):
    coarse = replace(
        preset("randomised"),
        in_plane_spacing_mm=(2.5, 2.5),
        slice_spacing_mm=(3.0, 3.0),
        variant={variant: 1.0} if variant else {},
        field_of_view={"whole": 1.0},
        degenerated_share=1.0,
        arms_share=1.0,
        limb_share=0.0,
    )
    for seed in range(3):
        phantom = generate_phantom(seed, coarse)
        assert phantom.truth["variant"] == variant
        assert len(phantom.truth["levels"]) > 10
        present = {NAMES[int(label)] for label in np.unique(phantom.mask) if label not in (0, 26)}
        assert present == set(phantom.truth["levels"])


def test_the_randomised_preset_holds_thin_slabs_and_thick_slices():
    settings = preset("randomised")
    widths, slices = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        upright = sample_subject(rng, settings)
        view = sample_field_of_view(rng, upright, settings)
        grid = sample_grid(rng, posed(rng, upright, view, settings), view, settings)
        widths.append(grid.spacing[0] * grid.shape[0])
        slices.append(max(grid.spacing))
    assert min(widths) < 85 and max(widths) > 300
    assert min(slices) < 1.5 and max(slices) > 4.5


# Legs

LEGS = replace(
    preset("randomised"),
    in_plane_spacing_mm=(2.5, 2.5),
    slice_spacing_mm=(4.0, 4.0),
    limb_share=1.0,
)


@pytest.mark.parametrize("seed", range(4))
def test_legs_hold_bone_and_no_vertebra(tmp_path: Path, seed: int):
    phantom = generate_phantom(seed, LEGS)
    assert not phantom.mask.any() and not phantom.centroids_mm and phantom.truth["levels"] == []
    assert phantom.truth["field_of_view"]["kind"] == "limb"
    air, flesh, bone = (
        np.mean((low < phantom.ct) & (phantom.ct <= high))
        for low, high in ((-1100, -700), (-200, 120), (200, 3000))
    )
    assert air > 0.05 and flesh > 0.2 and bone > 0.005
    np.testing.assert_array_equal(generate_phantom(seed, LEGS).ct, phantom.ct)
    paths = write_verse_scan(phantom, tmp_path, "sub-leg1", "LPS")
    row = audit_scan(Sample("sub-leg1", "sub-leg1", *map(str, paths[:3])))
    assert (row["problem"], row["warnings"], row["labels"]) == ("", "", "")


def test_as_many_scans_show_legs_as_asked_for():
    kinds = [
        generate_phantom(seed, replace(LEGS, in_plane_spacing_mm=(5.0, 5.0), limb_share=0.5)).truth[
            "field_of_view"
        ]["kind"]
        for seed in range(40)
    ]
    assert 10 <= kinds.count("limb") <= 30


def test_a_chance_of_legs_changes_no_other_scan(small: Phantom):
    assert DEMO.limb_share == preset("full").limb_share == 0
    rarely = generate_phantom(3, replace(SMALL, limb_share=1e-9))
    np.testing.assert_array_equal(rarely.ct, small.ct)
    assert rarely.truth == small.truth


# Anatomy over many subjects


def test_morphometry_covers_every_vertebra():
    assert set(morphometry()) == set(IDS)


def test_variants_and_fractures_occur(subjects: list[Subject]):
    variants = Counter(subject.variant for subject in subjects)
    assert set(variants) == {None, "T13", "L6", "no T12", "no L5"}
    assert variants[None] > 200
    for subject in subjects:
        labels = [vertebra.label for vertebra in subject.vertebrae.values()]
        assert labels == sorted(labels, key=CRANIOCAUDAL.index)
        count = {"T13": 25, "L6": 25, None: 24}.get(subject.variant, 23)
        assert len(labels) == count
    kinds = {v.fracture for subject in subjects for v in subject.vertebrae.values()}
    assert kinds == {None, "wedge", "biconcave", "crush"}


def test_a_wedge_loses_its_anterior_height(subjects: list[Subject]):
    vertebra = next(s for s in subjects if "T12" in s.vertebrae).vertebrae["T12"]
    wedge = fracture(vertebra, "wedge", 0.3)
    assert wedge.anterior_height == pytest.approx(0.7 * vertebra.anterior_height)
    assert wedge.posterior_height == vertebra.posterior_height
    assert wedge.lordosis < vertebra.lordosis - 5


def test_spine_stands_over_the_sacrum(subjects: list[Subject]):
    c7 = np.array([subject.vertebrae["C7"].frame.origin for subject in subjects])
    assert np.abs(c7[:, 1].mean()) < 8
    assert 400 < c7[:, 2].mean() < 560
    axes = np.array([v.frame.axes for s in subjects[:20] for v in s.vertebrae.values()])
    identity = axes @ np.swapaxes(axes, 1, 2)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)


def test_implants_occur():
    seen: Counter[str] = Counter()
    often = replace(SMALL, screw_share=0.5, cement_share=0.5, length_mm=(120.0, 120.0))
    for seed in range(6):
        phantom = generate_phantom(seed, often)
        for kind, levels in phantom.truth["implants"].items():
            seen[kind] += bool(levels)
            assert set(levels) <= set(phantom.truth["levels"])
            if levels:
                assert phantom.ct.max() > 1200
    assert seen["screws"] and seen["cement"]


def test_bone_density_falls_with_age(subjects: list[Subject]):
    age, density = np.array([(s.age, s.bone_density) for s in subjects]).T
    assert np.corrcoef(age, density)[0, 1] < -0.5


# No shortcut to the level


def test_soft_tissue_does_not_mark_levels(subjects: list[Subject]):
    apex, dome, shoulder = [], [], []
    for seed, subject in enumerate(subjects):
        landmarks = sample_landmarks(np.random.default_rng(seed), subject, DEMO)
        apex.append(landmarks.lung_apex_z[0] - subject.height("T1"))
        dome.append(landmarks.diaphragm_z[1] - subject.height("T10"))
        shoulder.append(landmarks.shoulder_shift)
    assert min(np.std(apex), np.std(dome), np.std(shoulder)) >= 8


def test_array_and_spacing_do_not_tell_the_region():
    rows = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        upright = sample_subject(rng, DEMO)
        view = sample_field_of_view(rng, upright, DEMO)
        if view.kind == "whole":
            continue
        subject = posed(rng, upright, view, DEMO)
        grid = sample_grid(rng, subject, view, DEMO)
        middle = (grid.origin[2] + grid.upper[2]) / 2
        levels = list(subject.vertebrae.values())
        nearest = min(range(len(levels)), key=lambda i: abs(levels[i].frame.origin[2] - middle))
        rows.append((nearest, *grid.shape, *grid.spacing, *(grid.spacing * grid.shape)))
    correlation = np.corrcoef(np.array(rows).T)[0, 1:]
    assert np.abs(correlation).max() < 0.25


# VerSe's layout


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_files_are_verses_in_every_orientation(tmp_path: Path, small: Phantom, orientation: str):
    paths = write_verse_scan(small, tmp_path, "sub-phantom0007", orientation)
    assert paths.ct == tmp_path / "rawdata/sub-phantom0007/sub-phantom0007_ct.nii.gz"
    derived = tmp_path / "derivatives/sub-phantom0007"
    assert paths.mask == derived / "sub-phantom0007_seg-vert_msk.nii.gz"
    assert paths.centroids == derived / "sub-phantom0007_seg-vert_ctd.json"
    ct, mask = nib.load(paths.ct), nib.load(paths.mask)
    entries = json.loads(paths.centroids.read_text())

    assert "".join(nib.aff2axcodes(ct.affine)) == orientation
    assert entries[0] == {"direction": list(orientation)}
    np.testing.assert_allclose(ct.affine, mask.affine)
    np.testing.assert_allclose(ct.affine, ct.header.get_qform(), atol=1e-4)
    assert (ct.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
    back = nib.as_closest_canonical(ct)
    np.testing.assert_allclose(back.affine, small.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(back.dataobj), small.ct)
    np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(mask).dataobj), small.mask)
    assert [entry["label"] for entry in entries[1:]] == sorted(small.centroids_mm)
    for entry in entries[1:]:
        world = nib.affines.apply_affine(ct.affine, [entry[axis] for axis in "XYZ"])
        np.testing.assert_allclose(world, small.centroids_mm[entry["label"]], atol=0.15)


def test_more_scans_leave_the_earlier_ones_as_they_are(tmp_path: Path):
    names = [f"sub-phantom{index:04d}" for index in (1, 2, 3)]
    coarse = replace(SMALL, in_plane_spacing_mm=(4.0, 4.0), slice_spacing_mm=(4.0, 4.0))
    write_phantom_dataset(tmp_path / "few", names[1:2], 11, coarse, workers=1)
    write_phantom_dataset(tmp_path / "many", names, 11, coarse, workers=2)
    few = sorted(path for path in (tmp_path / "few").rglob("*") if path.is_file())
    assert len(few) == 4
    for path in few:
        twin = tmp_path / "many" / path.relative_to(tmp_path / "few")
        assert twin.read_bytes() == path.read_bytes()


def test_scan_seed_needs_a_number():
    assert scan_seed(1, "sub-phantom0001") != scan_seed(1, "sub-phantom0002")
    assert scan_seed(1, "sub-phantom0001") != scan_seed(2, "sub-phantom0001")
    with pytest.raises(UserError, match="number"):
        scan_seed(1, "sub-phantom")
