"""Networks as ONNX models: the same answers, without PyTorch."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import ROOT
from scipy.special import log_softmax

from vertseg.core.errors import UserError
from vertseg.networks.metadata import AUXILIARY, output_channels
from vertseg.networks.registry import build_network
from vertseg.networks.weights import load_network, save_weights
from vertseg.phantom import generate_phantom, preset
from vertseg.segmentation.export import export_onnx, largest_difference
from vertseg.segmentation.model import load_model

CROP = [16, 20, 24]
CHANNELS = output_channels(29, list(AUXILIARY))
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from vertseg.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network on crops, untrained but for the statistics of its normalisation.

    It has all auxiliary outputs.
    """
    torch.manual_seed(0)
    network = build_network("mobilenet_aspp", CHANNELS, aspp_rates=[1, 2, 4, 8])
    with torch.no_grad():
        network.train()(torch.randn(4, 1, *CROP))
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    metadata = {
        "network": "mobilenet_aspp",
        "options": {"aspp_rates": [1, 2, 4, 8]},
        "num_classes": 29,
        "auxiliary": list(AUXILIARY),
        "sacrum": True,
        "settings": {"grid": {"spacing_mm": 4.0}, "crop": CROP},
    }
    save_weights(path, network, metadata)
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    target = weights.with_suffix(".onnx")
    export_onnx(weights, target)
    return target


@pytest.mark.parametrize("size", [tuple(CROP), (33, 41, 50), (64, 24, 90)])
def test_both_runtimes_agree_on_images_of_any_size(weights, exported, size) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, *size)).astype(np.float32)
    both = [load_model(path).forward(image) for path in (weights, exported)]
    assert both[0].shape == both[1].shape == (CHANNELS, *size)
    np.testing.assert_allclose(both[1][29:], both[0][29:], atol=1e-3)
    by_torch, by_onnx = (log_softmax(one[:29], axis=0) for one in both)
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-3)
    assert (by_onnx.argmax(0) == by_torch.argmax(0)).mean() > 0.9999


def test_the_difference_of_the_two_files_is_measured(weights, exported, tmp_path) -> None:
    assert largest_difference(weights, exported) < 1e-3
    network, trained = load_network(weights)
    with torch.no_grad():
        network.head.layers[-1].bias[3] += 0.25
    changed = tmp_path / "changed.safetensors"
    save_weights(changed, network, trained)
    assert largest_difference(changed, exported) == pytest.approx(0.25, abs=0.02)
    with torch.no_grad():
        network.head.layers[-1].bias[-1] += 0.5
    save_weights(changed, network, trained)
    assert largest_difference(changed, exported) == pytest.approx(0.5, abs=0.02)


def test_the_model_says_what_it_was_trained_on(weights, exported) -> None:
    assert load_model(exported).trained == load_model(weights).trained


def test_prediction_needs_no_torch(exported: Path, tmp_path: Path) -> None:
    phantom = generate_phantom(3, preset("demo"))
    scan = tmp_path / "sub-a_ct.nii.gz"
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), scan)
    arguments = ["predict", str(scan), "--output", str(tmp_path), "--model", str(exported)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sub-a_result.json").exists() and (tmp_path / "report.html").exists()


def test_what_is_no_model_is_refused(tmp_path: Path, weights: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"broken\.onnx.*cannot be read"):
        load_model(broken)
    with pytest.raises(UserError, match="no such model"):
        load_model(tmp_path / "absent.safetensors")
    pickled = tmp_path / "weights.pt"
    torch.save({"a": 1}, pickled)
    with pytest.raises(UserError, match=r"\.safetensors or an \.onnx"):
        load_model(pickled)
    renamed = pickled.rename(tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors.*cannot be read"):
        load_model(renamed)
