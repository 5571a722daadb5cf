"""A network in training.

Randomness has no state: every iteration draws from generators seeded with (seed, iteration), so
that a killed run continues from its last checkpoint with the same draws.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vertseg.anatomy.labels import BACKGROUND
from vertseg.core.errors import UserError
from vertseg.evaluation.metrics import confusion, multi_label_dice
from vertseg.networks.devices import choose_device, fastest_precision, place_network
from vertseg.networks.metadata import auxiliary_slices, output_channels
from vertseg.networks.registry import build_network, limit_context
from vertseg.networks.weights import load_initial_weights
from vertseg.segmentation.grid import AIR
from vertseg.training.data import Bodies, LabelledScans, padded, random_batch
from vertseg.training.instances import centres_loss, instance_targets, offsets_loss
from vertseg.training.losses import (
    class_weights,
    log_probabilities,
    segmentation_loss,
    soft_dice_loss,
)
from vertseg.training.record import History
from vertseg.training.settings import TrainingSettings

SMALLEST_LOSS_SCALE = 2.0**-10
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Trainer:
    """A network with its optimiser and data.

    Args:
        settings: the recipe.
        training: scans to learn from.
        validation: scans to validate on; may be empty.

    Raises:
        UserError: the initial weights are unreadable or belong to another network.
    """

    def __init__(
        self, settings: TrainingSettings, training: LabelledScans, validation: LabelledScans
    ) -> None:
        self.settings = settings
        self.device = choose_device(settings.device)
        automatic = settings.precision == "auto"
        self.precision = fastest_precision(self.device) if automatic else settings.precision
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        torch.manual_seed(settings.seed)
        outputs = output_channels(settings.num_classes, settings.auxiliary)
        network = build_network(settings.network, outputs, **settings.network_options)
        if settings.initial_weights:
            load_initial_weights(
                network,
                settings.initial_weights,
                settings.network,
                settings.network_options,
                settings.num_classes,
                settings.auxiliary,
            )
        limit_context(network, settings.crop)
        self.network = place_network(network, self.device)
        self._training = training
        self._validation = validation
        self._optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        counts = training.label_counts(settings.num_classes)
        weights = class_weights(counts, settings.class_weight_exponent)
        self._class_weights = torch.from_numpy(weights).to(self.device)

    def step(self, iteration: int) -> float:
        """Train on one batch, and return its loss before the step.

        Args:
            iteration: number of the iteration, from 1.

        Raises:
            UserError: the loss is not finite, or fp16 gradients overflow at every loss scale.
        """
        rng = np.random.default_rng([self.settings.seed, iteration])
        torch.manual_seed(int(rng.integers(2**63)))
        batch = random_batch(self._training, self.settings, rng, self.device)
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate_at(iteration)
        self.network.train()
        loss = self._loss(self._outputs(batch.images), batch.labels, batch.bodies)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"The loss is {value} at iteration {iteration}.")
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        # With fp16, steps whose gradients overflow are skipped and the loss scale is lowered.
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._scaler.is_enabled() and self._scaler.get_scale() < SMALLEST_LOSS_SCALE:
            raise self._diverged(f"The gradients keep overflowing at iteration {iteration}.")
        return value

    @torch.inference_mode()
    def validate(self) -> tuple[float | None, float | None]:
        """Mean loss and mean multi-label Dice of the validation scans on the network's grid.

        None without validation scans, and for the Dice of scans without vertebrae.
        """
        if not len(self._validation):
            return None, None
        self.network.eval()
        losses, dice = [], []
        for index in range(len(self._validation)):
            image, label = self._validation.images[index], self._validation.labels[index]
            image = padded(image, AIR, self.settings.crop)
            label = padded(label, BACKGROUND, self.settings.crop)
            outputs = self._outputs(image[None, None].to(self.device, torch.float32))
            on_device = label[None].to(self.device, torch.int64)
            bodies = None
            if self.settings.auxiliary:
                own = self._validation.bodies[index]
                bodies = Bodies(*(part[None].to(self.device) for part in own))
            losses.append(self._loss(outputs, on_device, bodies).item())
            logits = outputs[0, : self.settings.num_classes]
            predicted = logits.argmax(0).cpu().numpy()
            dice.append(multi_label_dice(confusion(label.numpy(), predicted)))
        measured = [value for value in dice if not math.isnan(value)]
        return float(np.mean(losses)), float(np.mean(measured)) if measured else None

    def state(self, history: History) -> dict[str, Any]:
        """Content of a checkpoint: plain tensors and numbers."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "history": history,
        }

    def restore(self, state: dict[str, Any] | None) -> History:
        """Restore the state of a checkpoint, if there is one, and return its history."""
        if state is None:
            return []
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        return state["history"]

    def check_weights(self) -> None:
        """Check that all weights are finite after the last step.

        Raises:
            UserError: some are not.
        """
        if not all(tensor.isfinite().all() for tensor in self.network.state_dict().values()):
            raise self._diverged("Weights are not finite after the last iteration.")

    def _outputs(self, images: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"
        ):
            return self.network(images)

    def _loss(self, outputs: Tensor, labels: Tensor, bodies: Bodies | None) -> Tensor:
        scores = log_probabilities(outputs[:, : self.settings.num_classes])
        loss = segmentation_loss(scores, labels, self._class_weights, self.settings.edge_weight)
        if self.settings.dice_weight:
            loss = loss + self.settings.dice_weight * soft_dice_loss(scores, labels)
        if bodies is not None:
            peaks, offsets = instance_targets(labels, *bodies)
            slices = auxiliary_slices(self.settings.num_classes, self.settings.auxiliary)
            if part := slices.get("centres"):
                loss = loss + centres_loss(outputs[:, part].float()[:, 0], peaks)
            if part := slices.get("offsets"):
                loss = loss + offsets_loss(outputs[:, part].float(), offsets)
        return loss

    def _diverged(self, what: str) -> UserError:
        advice = "Lower training.learning_rate"
        if self.precision == "fp16":
            advice += ", or set training.precision to fp32 or bf16"
        return UserError(f"{what} {advice}.")
