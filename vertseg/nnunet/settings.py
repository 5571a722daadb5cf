"""What nnU-Net is told, and what it calls things. Snakemake reads this: it needs no package."""

from dataclasses import dataclass, field, fields
from typing import Any, Self

from vertseg.core.errors import UserError

DATASET_ID = 1
DATASET = "Dataset001_vertebrae"
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans"

RAW_AXES = ("inferior-superior", "posterior-anterior", "left-right")
"""The axes of nnU-Net's arrays (z, y, x) before its plan permutes them."""


@dataclass(frozen=True)
class PlanSettings:
    """How nnU-Net plans. Defaults are nnU-Net's own.

    Attributes:
        gpu_memory_gb: GPU memory that the plan aims at.
        base_features: channels of the planned network's first stage.
        spacing_mm: voxel size (x, y, z) to train at; by default the median of the data set.
        patch_size: voxels (x, y, z) of a training patch, rounded up to what the network's strides
            need; by default as large as the memory allows.
        batch_size: patches in a batch; by default as many as the memory allows, at least 2.
    """

    gpu_memory_gb: float = 8.0
    base_features: int = 32
    spacing_mm: tuple[float, float, float] | None = None
    patch_size: tuple[int, int, int] | None = None
    batch_size: int | None = None

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from the configuration's values.

        Raises:
            UserError: a value is not known.
        """
        _check_known(cls, values, "nnunet.plan")
        return cls(**{key: _tuple(value) for key, value in values.items()})


@dataclass(frozen=True)
class NnunetSettings:
    """Settings of one training by nnU-Net. Defaults are the paper's or nnU-Net's own.

    Attributes:
        network: name in `networks.registry.NETWORKS`, or "" for the network that nnU-Net plans.
        network_options: that network's own, such as `aspp_rates`.
        epochs: the learning rate's schedule ends with the last.
        iterations_per_epoch: steps of the optimiser.
        validation_iterations: held-out batches looked at after each epoch.
        flips: mirror along all axes, in training and at test time, as nnU-Net does by default.
        checkpoint_every: epochs between checkpoints.
        workers: processes that augment batches; 0: the training process does, reproducibly.
        seed: of initial weights, batches, augmentation and dropout (without workers).
        device: auto, cpu, cuda or cuda:1.
    """

    network: str = ""
    network_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 200
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    flips: bool = False
    checkpoint_every: int = 10
    workers: int = 8
    seed: int = 2021
    device: str = "auto"

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from the configuration's values.

        Raises:
            UserError: a value is not known.
        """
        _check_known(cls, values, "nnunet")
        return cls(**values)

    @property
    def iterations(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.iterations_per_epoch


def _check_known(settings: type, values: dict[str, Any], where: str) -> None:
    unknown = sorted(values.keys() - {known.name for known in fields(settings)})
    if unknown:
        raise UserError(f"{where}: unknown setting {', '.join(unknown)}.")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
