"""What a training run is told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from vertseg.anatomy.labels import NUM_CLASSES
from vertseg.core.errors import UserError
from vertseg.segmentation.grid import GridSpec


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training run. Defaults are the paper's where it states them.

    Attributes:
        network: name in `vertseg.networks.registry.NETWORKS`.
        network_options: that network's own, such as `aspp_rates` and `checkpointing`.
        initial_weights: file (safetensors) of a trained network of the same kind to go on from, or
            none to start from random weights.
        grid: that the scans lie on: its shape, or `{"spacing_mm": s}`.
        num_classes: number of output channels.
        iterations: Adam steps.
        batch_size: scans in a step, all different.
        learning_rate: Adam's, at the start.
        schedule: constant, or half a cosine from `learning_rate` to 0.
        affine_strength: SD of the noise on the 12 entries of the affine augmentation.
        rotation_deg: SD of the random pitch in degrees, 0 for none; see
            `augmentation.random_rotations`.
        elastic_strength: SD in voxels of smooth random displacements, 0 for none; see
            `augmentation.random_displacements`.
        flips: mirror each axis with probability 1/2.
        class_weight_exponent: class weights are voxel counts to the power of minus this.
        edge_weight: added to the loss weight 0.95 of voxels on label borders.
        dice_weight: weight of the soft Dice loss that is added, 0 for none.
        intensity_strength: of random changes of contrast, brightness, sharpness and noise, 0 for
            none; see `augmentation.random_intensities`.
        density_strength: of random changes of the vertebrae's density, 0 for none; see
            `augmentation.random_densities`.
        crop: cells (X, Y, Z) of the random crops that a batch is made of; none for whole scans,
            which must then have the same shape.
        precision: auto is fp16 with loss scaling on CUDA, fp32 on a CPU.
        checkpoint_every: iterations between checkpoints.
        validate_every: iterations between looks at validation scans, 0 for none.
        validation_scans: how many validation scans are looked at, 0 for none.
        seed: of initial weights, batches, augmentation and dropout.
        device: auto, cpu, cuda or cuda:1.
    """

    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    initial_weights: str | None = None
    grid: GridSpec = (128, 128, 128)
    num_classes: int = NUM_CLASSES
    iterations: int = 1500
    batch_size: int = 4
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    affine_strength: float = 0.07
    rotation_deg: float = 0.0
    elastic_strength: float = 0.0
    flips: bool = False
    class_weight_exponent: float = 0.5
    edge_weight: float = 2.0
    dice_weight: float = 0.0
    intensity_strength: float = 0.0
    density_strength: float = 0.0
    crop: Sequence[int] | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    checkpoint_every: int = 50
    validate_every: int = 100
    validation_scans: int = 8
    seed: int = 2021
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name} is {getattr(self, name)}, but must be 1 or more.")
        for name, choices in (
            ("schedule", ("constant", "cosine")),
            ("precision", ("auto", "fp32", "fp16", "bf16")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"training.{name} is {getattr(self, name)!r}. Known: {', '.join(choices)}."
                )

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Self:
        """Settings from a mapping of their names.

        Raises:
            UserError: a key that is no setting, a missing network, or a value out of range.
        """
        unknown = values.keys() - {setting.name for setting in fields(cls)}
        if unknown:
            raise UserError(f"training: unknown setting {', '.join(sorted(unknown))}.")
        if "network" not in values:
            raise UserError("training: no network is named.")
        return cls(**values)

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
