"""The libraries that run a network: which one is taken, and that all give the same labels."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from vertseg.core.errors import UserError
from vertseg.phantom import generate_phantom, preset
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation import model, runtimes
from vertseg.segmentation.model import Model, load_model, load_models
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import SHIPPED_FILES, RuntimeName

LARGEST_SHARE = 1e-4
"""Largest share of labelled voxels in which two runtimes may differ, by rounding at ties."""


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Pretend that some packages are not installed."""

    def hide(*packages: str) -> None:
        def found(name: str) -> object:
            return None if name in packages else find_spec(name)

        monkeypatch.setattr(runtimes, "find_spec", found)

    return hide


def test_the_fastest_installed_library_runs_the_shipped_model(without) -> None:
    chosen = load_model(threads=1)
    assert (chosen.runtime, chosen.precision) == ("openvino", "float32")
    without("openvino")
    assert load_model(threads=1).runtime == "onnx"
    without("openvino", "onnxruntime")
    assert load_model(threads=1).runtime == "torch"
    with pytest.raises(UserError, match=r"vertseg\[openvino\]\" or \"vertseg\[onnx\]"):
        load_model(SHIPPED_FILES["onnx"])
    without("openvino", "onnxruntime", "torch")
    with pytest.raises(UserError, match="Neither OpenVINO, ONNX Runtime nor PyTorch"):
        load_model()


def run_by(runtime: RuntimeName, without) -> Model:
    without(*(package for name, package in runtimes.PACKAGES.items() if name != runtime))
    return load_model(threads=1)


def test_label_maps_of_all_runtimes_are_alike(without) -> None:
    phantom = generate_phantom(11, preset("demo"))
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    by_openvino, *others = (
        segment_ct(run_by(runtime, without), ct, "instances") for runtime in runtimes.PACKAGES
    )
    labelled = np.count_nonzero(by_openvino.mask)
    assert labelled > 1000
    for other in others:
        differing = np.count_nonzero(other.mask != by_openvino.mask)
        assert differing <= LARGEST_SHARE * labelled
        assert other.spine.confidence.keys() == by_openvino.spine.confidence.keys()


def test_images_of_changing_shape_and_scores_that_are_kept(without) -> None:
    """A network compiled for one shape takes the next; its outputs do not share memory."""
    by_openvino, by_onnx = (run_by(runtime, without).forward for runtime in ("openvino", "onnx"))
    rng = np.random.default_rng(1)
    images = [
        rng.uniform(-1, 1, (1, 1, *size)).astype(np.float32)
        for size in ((40, 48, 72), (44, 50, 73), (44, 50, 73), (40, 48, 72))
    ]
    for kept, image in zip([by_openvino(image) for image in images], images, strict=True):
        np.testing.assert_allclose(kept, by_onnx(image), atol=1e-3)


def test_the_shipped_model_needs_no_trial_and_any_other_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr(model, "_try_out", lambda name, *_: tried.append(name))
    load_model(threads=1)
    load_model(SHIPPED_FILES["onnx"], threads=1)
    assert not tried
    copy = shutil.copy(SHIPPED_FILES["onnx"], tmp_path / "copy.onnx")
    load_model(copy, threads=1)
    assert tried == [str(copy)]


def test_networks_that_predict_together_are_averaged(without) -> None:
    image = np.random.default_rng(2).uniform(-1, 1, (1, 1, 40, 48, 72)).astype(np.float32)
    one = load_model(SHIPPED_FILES["onnx"], threads=1).forward(image)
    twice = load_models([SHIPPED_FILES["onnx"]] * 2, threads=1).forward(image)
    np.testing.assert_allclose(twice[:29], log_softmax(one[:29], axis=0), atol=1e-4)
    np.testing.assert_allclose(twice[29:], one[29:], atol=1e-5)
