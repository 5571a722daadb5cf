from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vertseg.core.errors import UserError
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import CachedScan, read_cache, write_cache
from vertseg.segmentation.grid import GridTransform


def test_round_trip_with_and_without_a_label(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float16)
    label = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    transform = GridTransform((4, 5, 6), Geometry((7, 8, 9), np.diag([1.0, 2, 3, 1])))
    for stored in (label, None):
        write_cache(tmp_path / "a.safetensors", CachedScan("a", image, stored, transform))
        read = read_cache(tmp_path / "a.safetensors")
        np.testing.assert_array_equal(read.image, image)
        assert read.name == "a"
        assert read.transform.native.shape == (7, 8, 9)
        assert (read.label is None) == (stored is None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other.safetensors", "text.safetensors", "missing.safetensors"):
        with pytest.raises(UserError, match=name):
            read_cache(tmp_path / name)
