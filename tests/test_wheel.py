"""The wheel on a machine without the repository: it installs, brings the model, and predicts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest
from conftest import ROOT

from vertseg import __version__
from vertseg.phantom import generate_phantom, preset
from vertseg.segmentation.model import load_model

pytestmark = pytest.mark.release


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder, without what would lead Python to the repository."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    run(ROOT, sys.executable, *pip, "wheel", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, ".")  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"vertseg-{__version__}-")
    run(folder, sys.executable, "-m", "venv", "environment")
    programs = folder / "environment/bin"
    run(folder, programs / "python", *pip, "install", f"{wheel}[onnx]")
    return programs


def test_a_phantom_is_predicted_as_from_the_repository(installed: Path, tmp_path: Path) -> None:
    assert run(tmp_path, installed / "vertseg", "--version") == f"vertseg {__version__}\n"
    phantom = generate_phantom(1, preset("demo"))
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), tmp_path / "sub-1_ct.nii.gz")
    run(tmp_path, installed / "vertseg", "predict", "sub-1_ct.nii.gz", "--output", "results")
    result = json.loads((tmp_path / "results/sub-1_result.json").read_text())
    assert result["version"] == __version__
    assert result["model"]["sha256"] == load_model(None, 1).sha256
    found = {one["label"] for one in result["vertebrae"]}
    assert len(found & phantom.centroids_mm.keys()) >= len(phantom.centroids_mm) - 1
    page = (tmp_path / "results/report.html").read_text("utf-8")
    assert (ROOT / "vertseg/report/assets/niivue.min.js").read_text("utf-8") in page
    assert (tmp_path / "results/sub-1_viewer.js").stat().st_size > 100_000
    assert str(ROOT) not in run(
        tmp_path, installed / "python", "-c", "import vertseg; print(vertseg.__file__)"
    )
