"""Random batches of whole scans and of crops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes import recipe

from vertseg.anatomy.labels import IDS, SACRUM
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import AIR, GridTransform
from vertseg.training.data import LabelledScans, load_scans, random_batch, random_crop


def numbered(shape: tuple[int, int, int]) -> torch.Tensor:
    """A scan whose voxels say where they are."""
    return torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float32).reshape(shape)


@pytest.mark.parametrize("shape", [(20, 30, 40), (6, 30, 9), (8, 8, 8), (5, 6, 7)])
def test_a_crop_is_a_part_of_the_scan_with_air_around(shape: tuple[int, int, int]) -> None:
    size = (8, 8, 8)
    image = numbered(shape)
    label = (image % 7).to(torch.uint8)
    for seed in range(20):
        crop, cropped_label, _ = random_crop(image, label, size, np.random.default_rng(seed))
        assert crop.shape == cropped_label.shape == size
        inside = crop != AIR
        assert inside.sum() == np.prod(np.minimum(shape, size))
        assert torch.equal(cropped_label[inside], (crop[inside] % 7).to(torch.uint8))
        assert not cropped_label[~inside].any()
        values = crop[inside].reshape(*np.minimum(shape, size)) - 1
        steps = (shape[1] * shape[2], shape[2], 1)
        for axis, step in enumerate(steps):
            assert (torch.diff(values, dim=axis) == step).all()


def test_most_crops_hold_a_vertebra_and_some_do_not() -> None:
    label = torch.zeros(24, 24, 24, dtype=torch.uint8)
    label[11, 12, 13] = 9
    hits = [
        bool(random_crop(label.float(), label, (4, 4, 4), np.random.default_rng(seed))[1].any())
        for seed in range(200)
    ]
    assert 0.8 < np.mean(hits) < 0.97


def test_a_scan_without_a_vertebra_gives_crops_from_everywhere() -> None:
    image = numbered((20, 20, 20))
    label = torch.zeros(20, 20, 20, dtype=torch.uint8)
    seen = {
        int(random_crop(image, label, (8, 8, 8), np.random.default_rng(seed))[0].min())
        for seed in range(40)
    }
    assert len(seen) > 20


def test_scans_of_different_sizes_make_a_batch_of_crops() -> None:
    shapes = [(12, 10, 30), (9, 16, 20), (16, 16, 16)]
    scans = LabelledScans(
        [torch.zeros(shape).half() for shape in shapes],
        [torch.full(shape, 3, dtype=torch.uint8) for shape in shapes],
        [],
    )
    settings = recipe("unet", batch_size=3, crop=(8, 12, 16), affine_strength=0.0)
    images, labels, _ = random_batch(scans, settings, np.random.default_rng(0), torch.device("cpu"))
    assert images.shape == (3, 1, 8, 12, 16) and labels.shape == (3, 8, 12, 16)
    assert set(labels.unique().tolist()) == {0, 3}


def test_a_batch_with_all_augmentation_depends_on_the_generator_alone() -> None:
    rng = np.random.default_rng(1)
    scans = LabelledScans(
        [torch.from_numpy(rng.uniform(-1, 1, (20, 18, 22))).half() for _ in range(3)],
        [torch.from_numpy(rng.integers(0, 5, (20, 18, 22)).astype(np.uint8)) for _ in range(3)],
        [],
    )
    changes = {"rotation_deg": 10.0, "elastic_strength": 1.0, "density_strength": 1.0}
    settings = recipe("unet", batch_size=2, crop=(12, 12, 16), intensity_strength=1.0, **changes)

    def batch(seed: int, **different) -> torch.Tensor:
        changed = replace(settings, **different)
        return random_batch(scans, changed, np.random.default_rng(seed), torch.device("cpu"))[0]

    image = batch(7)
    assert image.shape == (2, 1, 12, 12, 16) and image.min() >= -1 and image.max() <= 1
    assert torch.equal(image, batch(7)) and not torch.equal(image, batch(8))
    for name in changes:
        assert not torch.equal(image, batch(7, **{name: 0.0}))


def sacrum_scan(folder: Path, name: str, labels: dict[int, slice]) -> Path:
    """A cached scan of 8 x 8 x 16 cells of 5 mm with labels in slabs along z."""
    label = np.zeros((8, 8, 16), np.uint8)
    for value, slab in labels.items():
        label[2:6, 2:6, slab] = value
    transform = GridTransform(label.shape, Geometry(label.shape, np.diag([5.0, 5, 5, 1])))
    path = folder / f"{name}.safetensors"
    write_cache(path, CachedScan(name, label.astype(np.float16), label, transform))
    return path


def test_the_sacrum_is_background_in_all_scans_if_some_show_it_without_a_label(
    tmp_path: Path, caplog
) -> None:
    l5 = IDS["L5"]
    labelled = sacrum_scan(tmp_path, "labelled", {SACRUM: slice(0, 5), l5: slice(6, 9)})
    ends = sacrum_scan(tmp_path, "ends", {l5: slice(3, 6)})
    open_below = sacrum_scan(tmp_path, "open", {l5: slice(4, 7)})
    scans = load_scans([labelled, ends], 29, one_shape=True)
    assert scans.show(SACRUM) and not caplog.messages
    scans = load_scans([labelled, open_below], 29, one_shape=True)
    assert not scans.show(SACRUM) and scans.show(l5)
    assert "learned as background: open show" in caplog.text
