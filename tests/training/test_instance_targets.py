"""Targets of body centres and offsets: known answers, borders, and agreement with the warp."""

import numpy as np
import pytest
import torch
from recipes import recipe

from vertseg.networks.metadata import OFFSET_CELLS, auxiliary_slices, output_channels
from vertseg.scans.volumes import Geometry
from vertseg.training.augmentation import random_affines, random_displacements, warp
from vertseg.training.data import Bodies, LabelledScans, random_batch
from vertseg.training.instances import (
    PEAK_WIDTH,
    STEP_OF_SIZE,
    body_centre_cells,
    centres_loss,
    instance_targets,
    moved_points,
    offsets_loss,
    peak_widths,
)

L1, L2, L3 = 20, 21, 22


def spine(*bodies: tuple[int, slice], shape=(24, 24, 40)) -> np.ndarray:
    """Boxes of 10 x 10 cells at given heights."""
    label = np.zeros(shape, np.uint8)
    for value, z in bodies:
        label[7:17, 7:17, z] = value
    return label


class TestBodyCentres:
    def test_of_boxes(self) -> None:
        centres = body_centre_cells(spine((L2, slice(4, 12)), (L1, slice(15, 25))))
        np.testing.assert_allclose(centres[L2], [11.5, 11.5, 7.5])
        np.testing.assert_allclose(centres[L1], [11.5, 11.5, 19.5])
        assert np.isnan(centres[[0, 1, L3]]).all()

    def test_the_scan_s_border_is_not_the_surface_of_bone(self) -> None:
        """Of a ball cut in its middle, the deepest cells are those at the border."""
        grid = np.indices((21, 21, 11)) - np.array([10, 10, 0]).reshape(3, 1, 1, 1)
        half = ((grid**2).sum(axis=0) <= 81).astype(np.uint8) * L1
        assert body_centre_cells(half)[L1, 2] < 2
        away = np.pad(half, [(0, 0), (0, 0), (1, 0)])
        assert body_centre_cells(away)[L1, 2] > 3.5

    def test_a_body_is_deeper_than_its_processes(self) -> None:
        label = spine((L1, slice(10, 20)))
        label[11:13, 17:24, 13:16] = L1
        np.testing.assert_allclose(body_centre_cells(label)[L1], [11.5, 11.5, 14.5], atol=0.3)

    def test_the_sacrum_has_none(self) -> None:
        assert np.isnan(body_centre_cells(spine((26, slice(2, 9))))).all()


def test_peaks_are_as_wide_as_the_nearest_neighbour_allows() -> None:
    label = spine((L3, slice(1, 9)), (L2, slice(10, 18)), (L1, slice(20, 30)))
    centres = body_centre_cells(label)
    widths = peak_widths(label, centres)
    assert widths[L2] == pytest.approx(PEAK_WIDTH * (centres[L2, 2] - centres[L3, 2]))
    assert widths[L1] == pytest.approx(PEAK_WIDTH * (centres[L1, 2] - centres[L2, 2]))
    alone = spine((L1, slice(10, 20)))
    expected = PEAK_WIDTH * STEP_OF_SIZE * 10
    assert peak_widths(alone, body_centre_cells(alone))[L1] == pytest.approx(expected)


def test_points_move_as_the_image_does() -> None:
    """A bright voxel, warped with its image, is where `moved_points` says."""
    rng = np.random.default_rng(3)
    size, count = (30, 34, 42), 6
    points = torch.from_numpy(rng.integers(11, 20, (count, 1, 3))).float()
    image = torch.zeros(count, 1, *size)
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), -1)
    for one in range(count):
        distance = ((grid - points[one, 0]) ** 2).sum(-1)
        image[one, 0] = torch.exp(-distance / 8)
    affines = random_affines(rng, count, 0.07)
    moves = random_displacements(rng, count, size, 1.5)
    warped, _ = warp(image - 1, torch.zeros(count, *size, dtype=torch.uint8), affines, moves)
    weight = (warped[:, 0] + 1) ** 4
    seen = (weight[..., None] * grid).sum((1, 2, 3)) / weight.sum((1, 2, 3))[:, None]
    moved = moved_points(points, affines, size, moves)[:, 0]
    assert (moved - points[:, 0]).abs().max() > 1
    torch.testing.assert_close(moved, seen, atol=0.35, rtol=0)


def test_absent_points_stay_absent() -> None:
    points = torch.tensor([[[float("nan")] * 3, [3.0, 4.0, 5.0]]])
    moved = moved_points(points, torch.eye(3, 4)[None], (8, 9, 10), torch.zeros(1, 3, 8, 9, 10))
    assert moved[0, 0].isnan().all()
    torch.testing.assert_close(moved[0, 1], points[0, 1])


def test_targets_have_known_values() -> None:
    label = torch.from_numpy(spine((L2, slice(4, 12)), (26, slice(0, 3)))).long()[None]
    centres = torch.full((1, 29, 3), float("nan"))
    centres[0, L2] = torch.tensor([11.0, 12.0, 8.0])
    peaks, offsets = instance_targets(label, centres, torch.full((1, 29), 2.0))
    assert peaks[0, 11, 12, 8] == 1
    assert peaks[0, 11, 14, 8] == pytest.approx(np.exp(-0.5))
    np.testing.assert_allclose(offsets[0, :, 8, 12, 5] * OFFSET_CELLS, [3, 0, 3])
    inside = offsets[0, 0].isfinite()
    assert torch.equal(inside, label[0] == L2)


def test_a_crop_keeps_the_centre_of_a_vertebra_that_it_cuts() -> None:
    label = spine((L2, slice(2, 14)), (L1, slice(18, 38)))
    bodies = Bodies(*(torch.from_numpy(part) for part in (
        body_centre_cells(label), peak_widths(label, body_centre_cells(label)))))  # fmt: skip
    scans = LabelledScans(
        [torch.from_numpy(label / 40 - 1).half()] * 2,
        [torch.from_numpy(label)] * 2,
        [Geometry(label.shape, np.eye(4))] * 2,
        [bodies] * 2,
    )
    settings = recipe(
        "unet", batch_size=2, crop=(24, 24, 12), affine_strength=0.0, auxiliary=["centres"]
    )
    cut = 0
    for seed in range(8):
        batch = random_batch(scans, settings, np.random.default_rng(seed), torch.device("cpu"))
        assert batch.bodies is not None
        for shown, centres in zip(batch.labels, batch.bodies.centres, strict=True):
            # Boxes of 20 cells do not fit into crops of 12: their centre is that of the whole.
            z = torch.nonzero((shown == L1).any(0).any(0))[:, 0]
            if not len(z):
                continue
            whole = range(18, 38)
            start = whole[0] - int(z[0]) if z[0] > 0 else whole[-1] - int(z[-1])
            if z[0] > 0 or z[-1] < 11:
                assert float(centres[L1, 2]) == pytest.approx(27.5 - start, abs=1e-4)
                cut += not 0 <= float(centres[L1, 2]) < 12
    assert cut


def test_losses_are_least_at_the_targets() -> None:
    label = torch.from_numpy(spine((L2, slice(4, 12)))).long()[None]
    centres = torch.full((1, 29, 3), float("nan"))
    centres[0, L2] = torch.tensor([11.0, 12.0, 8.0])
    peaks, offsets = instance_targets(label, centres, torch.full((1, 29), 2.0))
    right = torch.logit(peaks.clamp(1e-6, 1 - 1e-6))
    assert centres_loss(right, peaks) < centres_loss(right.roll(2, 3), peaks)
    assert centres_loss(right, peaks) < centres_loss(torch.full_like(right, -4.0), peaks)
    predicted = offsets.nan_to_num(7.0)
    assert offsets_loss(predicted, offsets) == 0
    assert offsets_loss(predicted + 1, offsets) > 0.2
    nothing = torch.full_like(offsets, float("nan"))
    assert offsets_loss(predicted, nothing) == 0


def test_channels_of_auxiliary_outputs() -> None:
    assert output_channels(29, []) == 29 and output_channels(29, ["centres", "offsets"]) == 33
    assert auxiliary_slices(29, ["offsets"]) == {"offsets": slice(29, 32)}
    both = auxiliary_slices(29, ["centres", "offsets"])
    assert both == {"centres": slice(29, 30), "offsets": slice(30, 33)}
