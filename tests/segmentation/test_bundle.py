"""Networks as MONAI bundles; studies/monai_bundle.py runs one with MONAI itself."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open

from vertseg import __version__
from vertseg.anatomy.boxes import Box
from vertseg.core.errors import UserError
from vertseg.networks.metadata import AUXILIARY, output_channels
from vertseg.networks.registry import build_network
from vertseg.networks.weights import load_network, save_weights
from vertseg.segmentation.bundle import export_bundle, inference
from vertseg.segmentation.grid import normalise_hu
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import predict_box

CROP = [16, 20, 24]
CARD = """# Card

| | |
|---|---|
| a | b |

## Data

Many [phantoms](docs/phantom.md),
no patients.

More.
"""
NEEDED = {
    "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format",
}  # fmt: skip
"""Keys that MONAI's bundle specification asks for (docs.monai.io, mb_specification)."""

NEEDED_OF_TENSORS = {
    "type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
    "channel_def",
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network on crops, untrained, with all auxiliary outputs and the sacrum."""
    torch.manual_seed(0)
    channels = output_channels(29, list(AUXILIARY))
    network = build_network("mobilenet_aspp", channels, aspp_rates=[1, 2])
    with torch.no_grad():
        network.train()(torch.randn(2, 1, *CROP))
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    metadata = {
        "network": "mobilenet_aspp",
        "options": {"aspp_rates": [1, 2]},
        "num_classes": 29,
        "auxiliary": list(AUXILIARY),
        "sacrum": True,
        "settings": {"grid": {"spacing_mm": 4.0}, "crop": CROP},
        "training_scans": 7,
    }
    save_weights(path, network, metadata)
    return path


@pytest.fixture(scope="module")
def bundle(weights: Path) -> zipfile.ZipFile:
    card = weights.with_name("card.md")
    card.write_text(CARD)
    target = weights.with_name("own.zip")
    export_bundle(weights, target, ROOT / "LICENSE", card)
    return zipfile.ZipFile(target)


def read_json(bundle: zipfile.ZipFile, name: str) -> dict:
    return json.loads(bundle.read(f"own/configs/{name}.json"))


def test_it_has_the_files_of_monais_specification(bundle: zipfile.ZipFile) -> None:
    assert set(bundle.namelist()) == {
        "own/configs/metadata.json", "own/configs/inference.json", "own/models/model.pt",
        "own/models/model.ts", "own/docs/README.md", "own/docs/license.txt",
        "own/docs/model_card.md",
    }  # fmt: skip
    assert bundle.read("own/docs/license.txt") == (ROOT / "LICENSE").read_bytes()
    readme = bundle.read("own/docs/README.md").decode()
    for said in ("Research use only", "all warnings", "Many phantoms, no patients."):
        assert said in readme


def test_its_metadata_are_those_of_the_network_and_the_card(
    bundle: zipfile.ZipFile, weights: Path
) -> None:
    metadata = read_json(bundle, "metadata")
    with safe_open(weights, framework="np") as file:
        trained = json.loads(file.metadata()["vertseg"])
    assert metadata["vertseg"] == trained
    assert metadata.keys() >= NEEDED
    assert metadata["version"] == __version__ and metadata["license"] == "MIT"
    assert metadata["data_source"] == ("Many phantoms, no patients. Scans of the last training: 7.")
    assert metadata["input_hu"] == [-450, 1050] and metadata["spacing_mm"] == 4.0
    assert metadata["intended_use"].startswith("Research use only: not a medical device")
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    assert image.keys() >= NEEDED_OF_TENSORS and pred.keys() >= NEEDED_OF_TENSORS
    assert image["modality"] == "CT" and image["spatial_shape"] == CROP
    classes = pred["channel_def"]
    assert pred["num_channels"] == len(classes) == 29
    named = {value: classes[value] for value in ("0", "1", "8", "20", "25", "26", "28")}
    assert list(named.values()) == ["background", "C1", "T1", "L1", "L6", "sacrum", "T13"]


def test_its_network_gives_the_labels_of_ours(bundle: zipfile.ZipFile, weights: Path) -> None:
    network = torch.jit.load(io.BytesIO(bundle.read("own/models/model.ts")))
    # Neither the size of the export's example nor a multiple of the stride.
    image = np.random.default_rng(0).uniform(-1, 1, (37, 29, 50)).astype(np.float32)
    outputs, label_map = predict_box(load_model(weights), image, Box.whole(image.shape))
    with torch.no_grad():
        scores = network(torch.from_numpy(image)[None, None])[0].numpy()
    assert scores.shape == (29, *image.shape)
    assert (scores.argmax(0) == label_map).mean() > 0.9999
    # Ours are log-probabilities, but for what a cell cannot be.
    differences = (scores - outputs[:29])[[*range(26), 28]]
    np.testing.assert_allclose(differences, differences[:1].repeat(27, 0), atol=1e-3)


def test_its_plain_weights_are_the_networks(bundle: zipfile.ZipFile, weights: Path) -> None:
    plain = torch.load(io.BytesIO(bundle.read("own/models/model.pt")), weights_only=True)
    described = read_json(bundle, "metadata")["weights"]
    known = ("name", "num_classes", "aspp_rates")
    network = build_network(**{key: described[key] for key in known})
    network.load_state_dict(plain)
    ours = load_network(weights)[0].state_dict()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in ours.items())


def test_its_transforms_are_those_of_the_grid(bundle: zipfile.ZipFile) -> None:
    steps = read_json(bundle, "inference")["preprocessing"]["transforms"]
    by_name = {step["_target_"]: step for step in steps}
    scale = by_name["ScaleIntensityRanged"]
    hu = np.array([-3000.0, -1024, -450, 0, 300, 1050, 3000])
    slope = (scale["b_max"] - scale["b_min"]) / (scale["a_max"] - scale["a_min"])
    theirs = np.clip((hu - scale["a_min"]) * slope + scale["b_min"], -1, 1)
    np.testing.assert_allclose(normalise_hu(hu), theirs, atol=1e-6)
    assert by_name["Orientationd"]["axcodes"] == "RAS"
    assert [step["pixdim"] for step in steps if step["_target_"] == "Spacingd"] == [
        [2.0] * 3, [4.0] * 3,
    ]  # fmt: skip
    assert by_name["SpatialPadd"]["spatial_size"] == CROP
    stretched = inference({"settings": {"grid": [64, 48, 96], "crop": None}})
    names = [step["_target_"] for step in stretched["preprocessing"]["transforms"]]
    assert names[-1] == "Resized" and "SpatialPadd" not in names


def test_a_card_without_data_is_refused(weights: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Card\n")
    with pytest.raises(UserError, match="no section 'Data'"):
        export_bundle(weights, tmp_path / "a.zip", ROOT / "LICENSE", card)
    assert not (tmp_path / "a.zip").exists()
