import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
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


WRITE = """
import sys
import numpy as np
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridTransform
image, label = np.zeros((2, 3, 4), np.float16), np.ones((2, 3, 4), np.uint8)
transform = GridTransform((2, 3, 4), Geometry((7, 8, 9), np.diag([1.0, 2, 3, 1])))
write_cache(sys.argv[1], CachedScan("a", image, label, transform))
"""


def test_the_same_scan_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", WRITE, str(path)], cwd=ROOT, check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    assert read_cache(paths[0]).transform.native.shape == (7, 8, 9)


OLDER = {"format": "vertseg-cache-1", "scan": "a", "transform": "{}"}


@pytest.mark.parametrize(
    "metadata",
    [None, OLDER, {"vertseg": "text"}, {"vertseg": "[]"}, {"vertseg": json.dumps(OLDER)}],
    ids=["none", "older", "text", "list", "older in one key"],
)
def test_files_of_other_formats_are_refused(tmp_path: Path, metadata: dict | None) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"image": np.zeros(3)}, path, metadata)
    with pytest.raises(UserError, match=f"{path}: not a cached scan .*Delete it and run again"):
        read_cache(path)


def test_unreadable_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("text.safetensors", "missing.safetensors"):
        with pytest.raises(UserError, match=f"{name}: cannot be read .*Delete it and run again"):
            read_cache(tmp_path / name)
