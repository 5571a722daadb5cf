"""What a prediction costs, without a clock: cells that the network sees, and memory."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from oracle import trained

from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.model import Model
from vertseg.segmentation.segment import MARGIN_CELLS, segment_ct

LARGEST_GB = 0.7
"""Largest memory of a process whose network sees a million cells at most at a time."""


def patient(shape: tuple[int, int, int], spacing_mm: float, side_mm: float) -> np.ndarray:
    """HU (x, y, z) int16 of a round patient in air, away from the middle, over a table."""
    x, y = ((np.arange(count) - 0.45 * count) * spacing_mm for count in shape[:2])
    radius = np.hypot(x[:, None], y) / (side_mm / 2)
    section = np.select([radius < 0.25, radius < 0.85, radius < 1], [300, 40, -90], -1000)
    section[:, 4:6] = 200
    return np.repeat(section[..., None], shape[2], axis=-1).astype(np.int16)


def test_the_network_sees_the_patient_not_the_air_or_the_table() -> None:
    ct = patient((200, 200, 60), 3.0, 120)
    ct[..., 40:] = -1000
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    seen = []

    def forward(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape[2:])
        scores = np.zeros((29, *images.shape[2:]), np.float32)
        scores[0] = 9
        return scores

    model = Model("", "", "torch", trained([16, 16, 16]), forward)
    segment_ct(model, Volume(ct, affine, Geometry(ct.shape, affine)), "instances")
    inside = 120 / 3 + 2 * MARGIN_CELLS + 2
    assert all(x <= inside and y <= inside for x, y, _ in seen)
    assert all(z <= 40 + MARGIN_CELLS + 2 for _, _, z in seen)
    # First a strip, then the whole width, since no spine was found.
    assert [x for x, _, _ in seen] == sorted(x for x, _, _ in seen) and len(seen) == 2
    assert sum(np.prod(shape) for shape in seen) < 0.1 * ct.size


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_memory_of_a_process(tmp_path: Path) -> None:
    shape, spacing = (160, 220, 150), 1.6
    scan = patient(shape, spacing, 240)
    nib.save(nib.Nifti1Image(scan, np.diag([spacing] * 3 + [1.0])), tmp_path / "large_ct.nii.gz")
    code = """
import sys
from pathlib import Path
from vertseg.cli import main
scan, output = sys.argv[1:]
status = main(["predict", scan, "--output", output, "--no-report", "--threads", "2"])
# That of the module resource would count what the starting process held.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(status, peak.split()[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "large_ct.nii.gz", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, kilobytes = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert json.loads((tmp_path / "out/large_result.json").read_text())["status"] == "done"
    assert kilobytes * 1024 / 1e9 < LARGEST_GB, kilobytes
