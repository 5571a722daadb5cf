"""Predictions of networks trained by nnU-Net."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from vertseg.core.errors import UserError
from vertseg.networks.weights import read_weights, shared_names
from vertseg.nnunet.planning import preprocessed_folder
from vertseg.nnunet.settings import CONFIGURATION, NnunetSettings
from vertseg.nnunet.trainer import build_architecture
from vertseg.nnunet.training import FORMAT
from vertseg.scans.volumes import Volume


class Predictor:
    """nnU-Net's sliding window with the network of one fold, or the mean logits of several.

    Args:
        weights: files of one method, written by `train_fold`.
        device: device of the network.

    Raises:
        UserError: a file is unreadable or does not belong to such a network.
    """

    def __init__(self, weights: Sequence[str], device: torch.device) -> None:
        files = [read_weights(path, FORMAT) for path in weights]
        self.metadata: dict[str, Any] = files[0][1]
        settings = NnunetSettings.from_config(self.metadata["settings"])
        plans = PlansManager(self.metadata["plans"])
        configuration = plans.get_configuration(CONFIGURATION)
        dataset = self.metadata["dataset_json"]
        classes = plans.get_label_manager(dataset).num_segmentation_heads
        network = build_architecture(settings, configuration, 1, classes, deep_supervision=False)
        shared = shared_names(network)
        try:
            states = [{name: tensors[shared[name]] for name in shared} for tensors, _ in files]
            network.load_state_dict(states[0])
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{weights[0]}: does not fit the plan that it contains ({error})."
            ) from error
        self._predictor = nnUNetPredictor(device=device, allow_tqdm=False)
        self._predictor.manual_initialization(
            network.to(device).eval(),
            plans,
            configuration,
            states,
            dataset,
            self.metadata["trainer"],
            tuple(self.metadata["mirror_axes_test_time"]) or None,
        )
        self._write_seg = plans.image_reader_writer_class().write_seg

    def settings(self) -> dict[str, Any]:
        """Settings of the training and of the prediction, to be written beside predictions."""
        left_out = ("plans", "dataset_json", "format")
        axes = self._predictor.allowed_mirroring_axes if self._predictor.use_mirroring else None
        return {key: value for key, value in self.metadata.items() if key not in left_out} | {
            "mirror_axes_test_time": list(axes or ()),
            "tile_step": self._predictor.tile_step_size,
            "networks": len(self._predictor.list_of_parameters),
        }

    def predict(self, ct: Volume) -> np.ndarray:
        """Label map (x, y, z) with nnU-Net's values on a CT's canonical voxels."""
        image = ct.array.transpose(2, 1, 0)[None].astype(np.float32)
        spacing = [float(np.float32(mm)) for mm in ct.spacing_mm[::-1]]
        predicted = self._predictor.predict_single_npy_array(image, {"spacing": spacing})
        return predicted.transpose(2, 1, 0)

    def save_own(self, path: Path, label_map: np.ndarray, ct: Volume) -> None:
        """Write a label map (x, y, z) with nnU-Net's values in nnU-Net's own way."""
        properties = {"nibabel_stuff": {"original_affine": ct.affine}}
        self._write_seg(label_map.transpose(2, 1, 0), str(path), properties)

    def summarise(self, folder: Path, processes: int) -> None:
        """Write nnU-Net's own summary.json of the label maps in a folder (by `save_own`)."""
        predictor = self._predictor
        compute_metrics_on_folder(
            str(preprocessed_folder() / "gt_segmentations"),
            str(folder),
            str(folder / "summary.json"),
            predictor.plans_manager.image_reader_writer_class(),
            predictor.dataset_json["file_ending"],
            predictor.label_manager.foreground_labels,
            num_processes=processes,
        )
