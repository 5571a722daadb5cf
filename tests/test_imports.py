"""Libraries that an entry loads: heavy ones only for the steps that need them."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from dicom_series import ct_slices, save_slices

from vertseg.segmentation.settings import SHIPPED_FILES

NUMERICS = {"numpy", "nibabel", "pandas", "torch", "scipy", "matplotlib"}
SNAKEMAKES_SIDE = [
    "vertseg.anatomy.schemes",
    "vertseg.core.code_version",
    "vertseg.core.errors",
    "vertseg.core.files",
    "vertseg.core.workflow_log",
    "vertseg.dataset.config",
    "vertseg.dataset.folds",
    "vertseg.dataset.layout",
    "vertseg.dataset.samples",
    "vertseg.dataset.sources",
    "vertseg.nnunet.settings",
    "vertseg.predict.earlier",
    "vertseg.scans.find",
    "vertseg.segmentation.settings",
]
"""Modules that the workflow imports while it plans its jobs."""

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def loaded_libraries(code: str, *arguments: str | Path) -> set[str]:
    """Top-level modules that a fresh Python has loaded after some code."""
    code += "\nimport sys\nprint('loaded', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def small_patient() -> np.ndarray:
    """HU (x, y, z) int16 of bone in soft tissue with fat around it, in air."""
    x, y = np.mgrid[-1:1:40j, -1:1:40j]
    radius = np.hypot(x, y)
    section = np.select([radius < 0.2, radius < 0.7, radius < 0.85], [300, 40, -90], -1000)
    return np.repeat(section[..., None], 20, axis=-1).astype(np.int16)


@pytest.mark.parametrize("module", SNAKEMAKES_SIDE)
def test_planning_a_workflow_needs_no_numerics(module: str) -> None:
    assert not NUMERICS & loaded_libraries(f"import {module}")


def test_all_that_rules_import_is_tested() -> None:
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    lines = (line.split() for path in files for line in path.read_text().splitlines())
    imported = {words[1] for words in lines if words[:1] == ["from"] and "import" in words}
    assert {name for name in imported if name.startswith("vertseg.")} <= set(SNAKEMAKES_SIDE)


def test_the_commands_help_needs_no_numerics() -> None:
    code = """
from contextlib import suppress
from vertseg.cli import main

with suppress(SystemExit):
    main(["predict", "--help"])
"""
    assert not NUMERICS & loaded_libraries(code)


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("vertseg.figures.preview", {"pandas", "torch", "matplotlib"}),
        ("vertseg.predict.pipeline", {"pandas", "torch", "matplotlib", "onnxruntime"}),
        ("vertseg.report.page", {"pandas", "torch", "matplotlib"}),
    ],
)
def test_modules_load_what_they_need(module: str, needless: set[str]) -> None:
    assert not needless & loaded_libraries(f"import {module}")


def test_onnx_prediction_needs_neither_torch_nor_pandas_nor_matplotlib(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(small_patient(), AFFINE), tmp_path / "scan.nii.gz")
    code = """
import sys
from vertseg.cli import main
scan, model, output = sys.argv[1:]
assert main(["predict", scan, "--model", model, "--output", output, "--no-report"]) == 0
"""
    loaded = loaded_libraries(
        code, tmp_path / "scan.nii.gz", SHIPPED_FILES["onnx"], tmp_path / "output"
    )
    assert (tmp_path / "output/scan_result.json").is_file()
    assert "openvino" in loaded
    needless = {"onnxruntime", "torch", "pandas", "matplotlib", "SimpleITK", "highdicom"}
    # Its mere import would report to the manufacturer of OpenVINO.
    assert not (needless | {"openvino_telemetry"}) & loaded


def test_a_dicom_seg_needs_no_matplotlib(tmp_path: Path) -> None:
    series = save_slices(tmp_path / "series", ct_slices(small_patient(), AFFINE))
    code = """
import sys
import numpy as np
from vertseg.scans.dicom.segmentation import write_segmentation
from vertseg.scans.read import read_scan

scan = read_scan(sys.argv[1])
mask = np.zeros(scan.volume.array.shape, np.uint8)
mask[15:20, 15:20, 5:9] = 20
write_segmentation(sys.argv[2], mask, scan.volume.native, scan.series)
"""
    loaded = loaded_libraries(code, series, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").stat().st_size
    assert "highdicom" in loaded
    assert not {"torch", "pandas", "matplotlib", "onnxruntime"} & loaded
