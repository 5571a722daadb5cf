import numpy as np
import torch

from vertseg.augmentation import random_affines, warp
from vertseg.losses import class_weights, label_edges, segmentation_loss


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
        torch.from_numpy(logits), torch.from_numpy(label), torch.from_numpy(weights), 2.0
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
