import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from vertseg.training.augmentation import (
    _blur,
    composed,
    random_affines,
    random_densities,
    random_displacements,
    random_intensities,
    random_rotations,
    warp,
)
from vertseg.training.losses import (
    class_weights,
    label_edges,
    log_probabilities,
    segmentation_loss,
    soft_dice_loss,
)


def test_class_weights_have_mean_one_and_ignore_absent_classes() -> None:
    weights = class_weights(np.array([100, 4, 0, 25]), 0.5)
    inverse_roots = np.array([1 / 10, 1 / 2, 1 / 5])
    np.testing.assert_allclose(weights[[0, 1, 3]], inverse_roots / inverse_roots.mean(), rtol=1e-6)
    assert weights[2] == 1
    np.testing.assert_array_equal(class_weights(np.array([5, 1, 9]), 0), 1)


def test_edges_look_at_predecessors_and_do_not_wrap() -> None:
    label = torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    label[0, 2, 0, 0] = 5
    edges = label_edges(label)
    assert edges.nonzero().tolist() == [[0, 2, 0, 0], [0, 2, 0, 1], [0, 2, 1, 0]]


def test_the_loss_equals_its_formula_voxel_by_voxel() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 3, 4, 5)).astype(np.float32)
    label = rng.integers(0, 4, (2, 3, 4, 5))
    weights = np.array([0.5, 1, 2, 3], np.float32)
    numerator = denominator = 0.0
    for n, *voxel in np.ndindex(label.shape):
        here = label[n, *voxel]
        edge = any(
            voxel[axis] > 0 and label[n, *np.subtract(voxel, np.eye(3, dtype=int)[axis])] != here
            for axis in range(3)
        )
        scores = logits[n, :, *voxel].astype(float)
        nll = np.log(np.exp(scores).sum()) - scores[here]
        w = 0.95 + 2 * edge
        numerator += w * weights[here] * nll
        denominator += w
    loss = segmentation_loss(
        log_probabilities(torch.from_numpy(logits)),
        torch.from_numpy(label),
        torch.from_numpy(weights),
        2.0,
    )
    np.testing.assert_allclose(loss.item(), numerator / denominator, rtol=1e-5)


def test_no_augmentation_is_the_identity_and_outside_is_air() -> None:
    image = torch.rand(2, 1, 5, 6, 7)
    label = torch.randint(0, 29, (2, 5, 6, 7), dtype=torch.uint8)
    same = random_affines(np.random.default_rng(0), 2, 0.0)
    warped, warped_label = warp(image, label, same)
    torch.testing.assert_close(warped, image, atol=1e-5, rtol=0)
    assert torch.equal(warped_label, label.long())
    away = same.clone()
    away[:, :, 3] = 5
    outside, background = warp(image, label, away)
    assert (outside == -1).all() and (background == 0).all()


def test_rotations_are_rigid_about_the_middle_of_any_grid() -> None:
    size = (10, 16, 24)
    matrices = random_rotations(np.random.default_rng(3), 200, size, 8.0).double().numpy()
    half = np.array(size[::-1]) / 2
    turns = matrices[:, :, :3] * half[:, None] / half
    assert not matrices[:, :, 3].any()
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1) - np.eye(3), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-6)
    # In the order z, y, x the pitch mixes the first two, the roll first and last, the yaw the rest.
    spread = np.rad2deg(np.arcsin(turns)).std(axis=0)
    assert spread[0, 1] == pytest.approx(8, rel=0.2)
    assert spread[0, 2] == pytest.approx(4, rel=0.2) and spread[1, 2] == pytest.approx(4, rel=0.2)
    image = torch.rand(1, 1, *size)
    warped, _ = warp(image, torch.zeros(1, *size, dtype=torch.uint8), torch.tensor(matrices[:1]))
    in_voxels = turns[0][::-1, ::-1]
    middle = (np.array(size) - 1) / 2
    expected = affine_transform(
        image[0, 0].numpy() + 1,
        in_voxels,
        middle - in_voxels @ middle,
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(warped[0, 0].numpy() + 1, expected, atol=1e-4)


def test_composed_maps_apply_one_after_the_other() -> None:
    first, second = torch.rand(2, 5, 3, 4, dtype=torch.double)
    point = torch.rand(3, dtype=torch.double)
    both = composed(first, second)
    for index in range(5):
        between = first[index, :, :3] @ point + first[index, :, 3]
        there = second[index, :, :3] @ between + second[index, :, 3]
        torch.testing.assert_close(both[index, :, :3] @ point + both[index, :, 3], there)


def test_density_changes_vertebrae_alone_and_no_further_than_fatty_marrow() -> None:
    image = torch.full((30, 1, 12, 12, 12), -0.3)
    label = torch.zeros(30, 12, 12, 12, dtype=torch.int64)
    label[:, 3:9, 3:9, 3:9] = 20
    image[label[:, None] > 0] = 0.1
    changed = random_densities(np.random.default_rng(4), image, label, 1.0)
    outside = torch.nn.functional.max_pool3d((label[:, None] > 0).float(), 3, 1, 1) == 0
    assert torch.equal(changed[outside], image[outside])
    means = (changed - image)[:, 0, 5:7, 5:7, 5:7].mean((1, 2, 3))
    assert -0.6 < means.min() < -0.2 and 0 < means.max() < 0.35
    assert changed.min() >= -0.48
    same = random_densities(np.random.default_rng(4), image, label, 0.0)
    assert torch.equal(same, image)


def test_displacements_are_in_voxels_along_x_y_and_z() -> None:
    image = torch.rand(2, 1, 6, 7, 9)
    label = torch.randint(0, 29, (2, 6, 7, 9))
    moves = torch.zeros(2, 3, 6, 7, 9)
    moves[0, 0], moves[1, 1], moves[1, 2] = 2, 1, -3
    same = random_affines(np.random.default_rng(0), 2, 0.0)
    warped, warped_label = warp(image, label, same, moves)
    torch.testing.assert_close(warped[0, 0, :4], image[0, 0, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(warped[1, 0, :, :6, 3:], image[1, 0, :, 1:, :6], atol=1e-5, rtol=0)
    assert torch.equal(warped_label[0, :4], label[0, 2:])
    assert (warped[0, 0, 4:] == -1).all() and (warped_label[0, 4:] == 0).all()


def test_random_displacements_are_smooth_and_of_the_strength_asked_for() -> None:
    drawn = random_displacements(np.random.default_rng(0), 6, (25, 37, 49), 1.5)
    assert drawn.shape == (6, 3, 25, 37, 49)
    assert drawn[..., 0, 0, 0].std() == pytest.approx(1.5, rel=0.4)
    # Nodes of SD 1.5 are 12 voxels apart: a step is seldom more than their difference over 12.
    for axis in (2, 3, 4):
        assert drawn.diff(dim=axis).abs().mean() < 1.5 / 6
    assert not random_displacements(np.random.default_rng(0), 1, (8, 8, 8), 0.0).any()


def test_flips_mirror_image_and_label_together() -> None:
    image = torch.rand(8, 1, 4, 4, 4)
    label = (image[:, 0] * 20).to(torch.uint8)
    affines = random_affines(np.random.default_rng(0), 8, 0.0, flips=True)
    warped, warped_label = warp(image, label, affines)
    for index, affine in enumerate(affines):
        signs = affine.diagonal().tolist()
        axes = [axis for axis, sign in zip((2, 1, 0), signs, strict=True) if sign < 0]
        expected = image[index, 0].flip(axes)
        torch.testing.assert_close(warped[index, 0], expected, atol=1e-5, rtol=0)
        assert torch.equal(warped_label[index], label[index].flip(axes).long())
    assert len({tuple(affine.diagonal().tolist()) for affine in affines}) > 2


def test_soft_dice_equals_its_formula_label_by_label() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 5, 3, 4, 2)).astype(np.float32)
    label = rng.choice([0, 1, 3], (2, 3, 4, 2))
    exponentials = np.exp(logits.astype(float))
    probability = exponentials / exponentials.sum(axis=1, keepdims=True)
    dice = [
        2 * probability[:, c][label == c].sum() / (probability[:, c].sum() + (label == c).sum())
        for c in (1, 3)
    ]
    loss = soft_dice_loss(log_probabilities(torch.from_numpy(logits)), torch.from_numpy(label))
    assert loss.item() == pytest.approx(1 - np.mean(dice), abs=1e-6)


def test_soft_dice_of_perfect_and_empty_batches() -> None:
    label = torch.tensor([0, 2, 2, 1]).view(1, 2, 2, 1)
    perfect = 50 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    assert soft_dice_loss(log_probabilities(perfect), label).item() == pytest.approx(0, abs=1e-6)
    empty = torch.zeros_like(label)
    assert soft_dice_loss(log_probabilities(perfect), empty).item() == 1


def test_random_intensities_stay_in_range_and_depend_on_the_generator_alone() -> None:
    image = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (3, 1, 9, 8, 7))).float()
    one, same, other = (
        random_intensities(np.random.default_rng(seed), image, 1.0) for seed in (5, 5, 6)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == image.shape and one.min() >= -1 and one.max() <= 1
    assert (one - image).abs().mean() > 0.02
    unchanged = random_intensities(np.random.default_rng(5), image, 0.0)
    torch.testing.assert_close(unchanged, image, atol=1e-5, rtol=0)


def test_random_intensities_leave_air_and_do_not_invert() -> None:
    rising = torch.linspace(-1, 1, 64).view(1, 1, 1, 1, 64).repeat(40, 1, 12, 12, 1)
    rising[..., :4] = -1
    changed = random_intensities(np.random.default_rng(8), rising, 0.7)
    assert (changed[..., :4] == -1).all()
    means = changed.mean((1, 2, 3))
    assert (means[:, 56:].mean(1) > means[:, 16:24].mean(1)).all()


def test_the_blur_of_random_intensities_is_a_gaussian() -> None:
    image = np.random.default_rng(3).uniform(-1, 1, (2, 1, 11, 10, 9)).astype(np.float32)
    blurred = _blur(torch.from_numpy(image), torch.tensor([[0.0, 0.0, 0.0], [0.8, 0.3, 0.6]]))
    np.testing.assert_allclose(blurred[0], image[0], atol=1e-5)
    expected = gaussian_filter(image[1, 0], (0.8, 0.3, 0.6), mode="nearest", radius=2)
    np.testing.assert_allclose(blurred[1, 0], expected, atol=1e-5)
