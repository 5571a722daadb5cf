"""Settings of a training run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from vertseg.anatomy.labels import NUM_CLASSES
from vertseg.core.settings import settings_from
from vertseg.segmentation.grid import GridSpec


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of one training run, complete and checked (`dataset.config.training_settings`).

    Fields that are not described here are keys of `training` in schemas/config.schema.yaml, which
    states their meanings, units, bounds and defaults.

    Attributes:
        network: name in `vertseg.networks.registry.NETWORKS`.
        network_options: that network's own, such as `aspp_rates` and `checkpointing`.
        num_classes: number of classes.
        grid: grid of the scans: a shape (X, Y, Z), or `{"spacing_mm": s}`.
        seed: seed of initial weights, batches, augmentation and dropout.
        device: auto, cpu, cuda or cuda:1.
    """

    network: str
    network_options: dict[str, Any]
    num_classes: int = NUM_CLASSES
    grid: GridSpec
    seed: int
    device: str

    iterations: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    affine_strength: float
    rotation_deg: float
    elastic_strength: float
    flips: bool
    initial_weights: str | None
    class_weight_exponent: float
    edge_weight: float
    dice_weight: float
    auxiliary: Sequence[str]
    intensity_strength: float
    density_strength: float
    crop: Sequence[int] | None
    precision: Literal["auto", "fp32", "fp16", "bf16"]
    checkpoint_every: int
    validate_every: int
    validation_scans: int

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from a mapping of their names.

        Raises:
            UserError: a key that is not a setting, or a setting that is missing.
        """
        return settings_from(cls, values, "training")

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of an iteration, counted from 1."""
        if self.schedule == "constant":
            return self.learning_rate
        done = (iteration - 1) / self.iterations
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def validates_after(self, iteration: int) -> bool:
        """Whether validation scans are looked at after an iteration, counted from 1."""
        if self.validate_every == 0 or self.validation_scans == 0:
            return False
        return iteration % self.validate_every == 0 or iteration == self.iterations
