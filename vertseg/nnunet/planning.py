"""nnU-Net's fingerprint, plan and preprocessing, in the folders of its environment variables."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprint_dataset,
    preprocess_dataset,
)
from nnunetv2.paths import nnUNet_preprocessed

from vertseg.nnunet.settings import CONFIGURATION, DATASET, DATASET_ID, PLANS, PlanSettings

ANY_MEMORY_GB = 1e6
"""GPU memory that no patch exceeds."""


def preprocessed_folder() -> Path:
    """Folder of the plan and the preprocessed scans."""
    return Path(os.fspath(nnUNet_preprocessed)) / DATASET


class Planner(ExperimentPlanner):
    """nnU-Net's planner with our settings. It decides everything that they leave open.

    Args:
        settings: the settings.
    """

    def __init__(self, settings: PlanSettings) -> None:
        spacing = settings.spacing_mm
        super().__init__(
            DATASET_ID,
            gpu_memory_target_in_gb=settings.gpu_memory_gb,
            plans_name=PLANS,
            overwrite_target_spacing=[float(mm) for mm in spacing[::-1]] if spacing else None,
        )
        self.settings = settings
        self.UNet_base_num_features = settings.base_features

    def get_plans_for_configuration(
        self,
        spacing: np.ndarray,
        median_shape: np.ndarray,
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict[str, Any],
    ) -> dict[str, Any]:
        """Plan of one configuration; in 3-D with the patch and batch sizes of the settings."""
        arguments = (data_identifier, approximate_n_voxels_dataset, _cache)
        wanted = self.settings.patch_size if len(spacing) == 3 else None
        if wanted is None:
            plan = super().get_plans_for_configuration(spacing, median_shape, *arguments)
        else:
            # Patches start at the scans' median shape and shrink until they fit the memory.
            patch = np.array(wanted[::-1])[self.determine_transpose()[0]]
            self.UNet_vram_target_GB = ANY_MEMORY_GB
            plan = super().get_plans_for_configuration(spacing, patch, *arguments)
            self.UNet_vram_target_GB = self.settings.gpu_memory_gb
            plan["median_image_size_in_voxels"] = median_shape
            plan["batch_size"] = self.UNet_min_batch_size
        if len(spacing) == 3 and self.settings.batch_size:
            plan["batch_size"] = self.settings.batch_size
        return plan


def plan(settings: PlanSettings, processes: int) -> dict[str, Any]:
    """Check the raw data set, take its fingerprint, plan, and return the plan.

    Writes dataset_fingerprint.json, the plan, dataset.json and splits_final.json.

    Args:
        settings: settings of the plan.
        processes: number of processes that read scans.
    """
    extract_fingerprint_dataset(
        DATASET_ID, num_processes=processes, check_dataset_integrity=True, clean=True
    )
    (preprocessed_folder() / f"{PLANS}.json").unlink(missing_ok=True)
    (preprocessed_folder() / "splits_final.json").unlink(missing_ok=True)
    Planner(settings).plan_experiment()
    return read_plans()


def read_plans() -> dict[str, Any]:
    """The plan written by `plan`."""
    return json.loads((preprocessed_folder() / f"{PLANS}.json").read_text())


def preprocess(processes: int) -> None:
    """Preprocess all scans of the raw data set according to the plan."""
    preprocess_dataset(DATASET_ID, PLANS, (CONFIGURATION,), (processes,))
