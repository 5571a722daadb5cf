"""Trained networks as MONAI bundles, for programs that know MONAI and not this one.

The form is that of MONAI's bundle specification: metadata, a network that needs no code of ours
(TorchScript), and a configuration of MONAI's own transforms that leads from a CT to a label map.
"""

import io
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import Tensor, nn

from vertseg import __version__
from vertseg.anatomy.labels import BACKGROUND, SACRUM, UNANNOTATED
from vertseg.core.files import atomic_path, file_sha256
from vertseg.core.notice import AUTHORS, LICENCE, RESEARCH_USE_ONLY
from vertseg.networks.metadata import output_channels
from vertseg.networks.weights import load_network
from vertseg.segmentation.card import (
    card_section,
    class_names,
    described_input,
    described_network,
    described_output,
)
from vertseg.segmentation.export import example_size
from vertseg.segmentation.grid import AIR, WINDOW_HU
from vertseg.segmentation.pieces import IMPOSSIBLE

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
"""MONAI's schema of bundles' metadata."""

MONAI = "1.6.1"
"""Version of MONAI that the bundle is tried with."""

PACKAGES = {"nibabel": nib.__version__, "pytorch-ignite": "0.5.5", "fire": "0.7.1"}
"""Packages that MONAI needs to run the bundle."""

TASK = "Segmentation and naming of the vertebrae in CT"

LIMITS = (
    "Each cell gets the label of its largest score and each voxel that of its cell: `vertseg "
    "predict --decoding argmax` without its interpolation. Left out is what `vertseg predict` "
    "does besides: vertebrae told apart before they are named (`instances`), the order of names "
    "along the spine, the removal of false pieces, the search for the patient, the probabilities "
    "of levels, the measures, and all warnings about the scan or the result. A wrong level looks "
    "like a right one."
)
"""What the bundle lacks."""

_README = """# {name}

{notice}

{description}

{limits}

Scans (NIfTI, HU) lie in `scans/`; label maps with VerSe's values are written to `labels/`:

```
pip install monai=={monai} {packages}
python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
    --bundle_root . --dataset_dir scans --output_dir labels
```

The network sees a scan as a whole: memory grows with the scan.

- `configs/metadata.json`: input, classes by value, training; under `vertseg` all that the file of
  weights states.
- `models/model.ts`: the network as TorchScript, which needs PyTorch alone. Its outputs are scores
  of the label values.
- `models/model.pt`: its plain weights; the classes that they fit are part of vertseg.

Training: {data}
"""


class LabelScores(nn.Module):
    """A network whose outputs are scores of label values, as the decoding sees them.

    The sacrum, if the network has learned it, counts as background. Values that are never
    annotated have an impossible score.

    Args:
        network: maps images (N, 1, X, Y, Z) to (N, channels, X, Y, Z).
        num_classes: number of classes, the first channels.
        sacrum: whether the network has learned the sacrum.
    """

    def __init__(self, network: nn.Module, num_classes: int, sacrum: bool) -> None:
        super().__init__()
        self.network = network
        self.sacrum = sacrum
        score = torch.zeros(1, num_classes, 1, 1, 1)
        score[:, [value for value in UNANNOTATED if value < num_classes]] = IMPOSSIBLE
        self.register_buffer("unknown", score)

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 1, X, Y, Z), normalised, to scores (N, num_classes, X, Y, Z)."""
        assert isinstance(self.unknown, Tensor)
        scores = self.network(image)[:, : self.unknown.shape[1]]
        background = scores[:, BACKGROUND : BACKGROUND + 1]
        if self.sacrum:
            background = torch.logaddexp(background, scores[:, SACRUM : SACRUM + 1])
        return torch.cat([background, scores[:, 1:]], 1) + self.unknown


def export_bundle(
    weights: str | os.PathLike[str],
    target: str | os.PathLike[str],
    licence: str | os.PathLike[str],
    card: str | os.PathLike[str] | None = None,
) -> None:
    """Write a network as a MONAI bundle: a ZIP file with a folder of the same name.

    Args:
        weights: safetensors file of the network.
        target: the .zip file, written atomically.
        licence: text of the licence, which becomes a part of the bundle.
        card: card of the model (Markdown), which becomes a part of the bundle.

    Raises:
        UserError: the weights cannot be loaded, or the card has no section on the data.
    """
    network, trained = load_network(weights)
    name = Path(target).stem
    card_text = None if card is None else Path(card).read_text(encoding="utf-8")
    metadata = bundle_metadata(name, trained, file_sha256(weights), card_text)
    files: dict[str, bytes] = {
        "configs/metadata.json": _json(metadata),
        "configs/inference.json": _json(inference(trained)),
        "models/model.ts": _torchscript(network, trained),
        "models/model.pt": _plain_weights(network),
        "docs/README.md": _readme(metadata).encode(),
        "docs/license.txt": Path(licence).read_bytes(),
    }
    if card_text is not None:
        files["docs/model_card.md"] = card_text.encode()
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for path, content in files.items():
            # A fixed date: the same network gives the same archive.
            archive.writestr(zipfile.ZipInfo(f"{name}/{path}"), content, zipfile.ZIP_DEFLATED)


def bundle_metadata(
    name: str, trained: Mapping[str, Any], weights_sha256: str, card: str | None = None
) -> dict[str, Any]:
    """A bundle's metadata.json, by MONAI's bundle specification.

    Args:
        name: of the model.
        trained: metadata of the network's file.
        weights_sha256: SHA-256 of that file.
        card: text of the model's card.

    Raises:
        UserError: the card has no section on the data.
    """
    settings, classes = trained["settings"], trained["num_classes"]
    grid, crop = settings["grid"], settings["crop"]
    is_cells = isinstance(grid, Mapping)
    shape = crop or (["*"] * 3 if is_cells else grid)
    spatial = {"spatial_shape": shape, "dtype": "float32", "is_patch_data": bool(crop)}
    names = {str(value): name for value, name in class_names(trained).items()}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"made by vertseg {__version__}"},
        "monai_version": MONAI,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": PACKAGES,
        "supported_apps": {},
        "name": name,
        "task": TASK,
        "description": (
            f"{described_network(trained)}. Input: {described_input(trained)}. Output of the "
            f"trained network: {described_output(trained)}; of this bundle: VerSe's labels alone."
        ),
        "authors": AUTHORS,
        "copyright": f"{AUTHORS}, {LICENCE} licence",
        "license": LICENCE,
        "intended_use": f"{RESEARCH_USE_ONLY} {LIMITS}",
        "data_source": training_data(trained, card),
        "data_type": "nibabel",
        "image_classes": described_input(trained),
        "label_classes": "one channel, values by channel_def of the output",
        "pred_classes": f"{classes} channels of scores; the largest one's index is the label",
        "input_hu": list(WINDOW_HU),
        "spacing_mm": grid["spacing_mm"] if is_cells else None,
        "orientation": "RAS",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": 1,
                    "value_range": [-1, 1],
                    **spatial,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": classes,
                    "value_range": [],
                    **spatial,
                    "channel_def": names,
                }
            },
        },
        "weights": {
            "sha256": weights_sha256,
            "_target_": "vertseg.networks.registry.build_network",
            "name": trained["network"],
            "num_classes": output_channels(classes, trained.get("auxiliary", [])),
            **trained["options"],
        },
        "vertseg": dict(trained),
    }


def training_data(trained: Mapping[str, Any], card: str | None = None) -> str:
    """What a network has learned from, by its card and its metadata.

    Args:
        trained: the network's metadata.
        card: text of the model's card.

    Raises:
        UserError: the card has no section on the data.
    """
    parts = [] if card is None else [card_section(card, "Data")]
    if "training_scans" in trained:
        parts.append(f"Scans of the last training: {trained['training_scans']}.")
    if extremes := trained.get("training_range"):
        for what, key in (("Voxels", "spacing_mm"), ("Fields of view", "extent_mm")):
            least, largest = ("x".join(f"{mm:g}" for mm in end) for end in extremes[key])
            parts.append(f"{what} of {least} to {largest} mm.")
    return " ".join(parts) or "Not stated."


def inference(trained: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle's inference.json: from a folder of CTs to one of label maps, by MONAI alone.

    Args:
        trained: the network's metadata.
    """
    low, high = WINDOW_HU
    settings = trained["settings"]
    image = {"keys": "image"}
    preprocessing: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", **image},
        {"_target_": "EnsureChannelFirstd", **image},
        {"_target_": "Orientationd", **image, "axcodes": "RAS"},
        {
            "_target_": "ScaleIntensityRanged", **image,
            "a_min": low, "a_max": high, "b_min": AIR, "b_max": 1.0, "clip": True,
        },
        *_onto_grid(settings["grid"]),
    ]  # fmt: skip
    if settings["crop"]:
        preprocessing.append(
            {
                "_target_": "SpatialPadd", **image,
                "spatial_size": settings["crop"], "method": "end", "value": AIR,
            }
        )  # fmt: skip
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/labels'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "Invertd", "keys": "pred", "orig_keys": "image",
                    "transform": "@preprocessing", "nearest_interp": True, "to_tensor": True,
                },
                {
                    "_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
                    "output_postfix": "msk", "output_dtype": "uint8", "separate_folder": False,
                },
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$torch.set_grad_enabled(False)"],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def _onto_grid(grid: Any) -> list[dict[str, Any]]:
    """Transforms that resample an image to a network's grid.

    Cells of a fixed size are means of eight of half their size: interpolation alone would read
    single voxels of a fine scan, noise included.
    """
    if not isinstance(grid, Mapping):
        return [
            {
                "_target_": "Resized", "keys": "image", "spatial_size": grid,
                "mode": "trilinear", "anti_aliasing": True,
            }
        ]  # fmt: skip
    return [
        {
            "_target_": "Spacingd", "keys": "image", "pixdim": [grid["spacing_mm"] / parts] * 3,
            "mode": "bilinear", "padding_mode": "border", "scale_extent": True,
            "align_corners": True,
        }
        for parts in (2, 1)
    ]  # fmt: skip


def _torchscript(network: nn.Module, trained: Mapping[str, Any]) -> bytes:
    scores = LabelScores(network, trained["num_classes"], bool(trained.get("sacrum"))).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # Of the check that an image is not too small, which becomes none.
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 1, *example_size(trained["settings"]["crop"]))
        traced = torch.jit.trace(scores, example, check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    return buffer.getvalue()


def _plain_weights(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def _readme(metadata: Mapping[str, Any]) -> str:
    packages = " ".join(f"{name}=={version}" for name, version in PACKAGES.items())
    return _README.format(
        name=metadata["name"], notice=RESEARCH_USE_ONLY, description=metadata["description"],
        limits=LIMITS, monai=MONAI, packages=packages, data=metadata["data_source"],
    )  # fmt: skip


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
