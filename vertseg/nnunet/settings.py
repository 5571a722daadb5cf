"""Settings of nnU-Net, and its names for things. Snakemake reads this: it needs no package."""

from dataclasses import dataclass
from typing import Any, Self

from vertseg.core.settings import settings_from

DATASET_ID = 1
DATASET = "Dataset001_vertebrae"
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans"

RAW_AXES = ("inferior-superior", "posterior-anterior", "left-right")
"""The axes of nnU-Net's arrays (z, y, x) before its plan permutes them."""


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """Settings of nnU-Net's plan: the keys of `nnunet.plan` in schemas/config.schema.yaml.

    Sizes are along x, y, z. What is None, nnU-Net decides.
    """

    gpu_memory_gb: float
    base_features: int
    spacing_mm: tuple[float, float, float] | None
    patch_size: tuple[int, int, int] | None
    batch_size: int | None

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from the configuration's values.

        Raises:
            UserError: a key that is not a setting, or a setting that is missing.
        """
        tuples = {key: _tuple(value) for key, value in values.items()}
        return settings_from(cls, tuples, "nnunet.plan")


@dataclass(frozen=True, kw_only=True)
class NnunetSettings:
    """Settings of one training by nnU-Net, complete (`dataset.config.nnunet_settings`).

    Fields that are not described here are keys of `nnunet` in schemas/config.schema.yaml, which
    states their meanings, units, bounds and defaults.

    Attributes:
        network: name in `networks.registry.NETWORKS`, or "" for the network that nnU-Net plans.
        network_options: that network's own, such as `aspp_rates`.
        seed: seed of initial weights, batches, augmentation and dropout (without workers).
        device: auto, cpu, cuda or cuda:1.
    """

    network: str
    network_options: dict[str, Any]
    seed: int
    device: str

    epochs: int
    iterations_per_epoch: int
    validation_iterations: int
    flips: bool
    checkpoint_every: int
    workers: int

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from the configuration's values.

        Raises:
            UserError: a key that is not a setting, or a setting that is missing.
        """
        return settings_from(cls, values, "nnunet")

    @property
    def iterations(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.iterations_per_epoch


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
