"""nnU-Net's trainer with our settings."""

import json
import random
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn
from torch._dynamo import OptimizedModule
from tqdm import tqdm

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.logs import logger
from vertseg.networks.devices import choose_device
from vertseg.networks.registry import build_network
from vertseg.nnunet.settings import CONFIGURATION, NnunetSettings


class Trainer(nnUNetTrainer):
    """nnU-Net's trainer with our settings, and with atomic checkpoints.

    Differences, each by the settings: length, mirroring, network (then without deep supervision),
    seeds, device. The constructor is the base class's, whose parameters nnU-Net inspects; `adopt`
    comes next.
    """

    settings: NnunetSettings
    bar: tqdm
    mirror_axes: tuple[int, ...] = ()
    """Axes of the array that training mirrors along, known once the data are loaded."""

    def adopt(self, settings: NnunetSettings, terminal: TextIO) -> None:
        """Apply settings, before anything is built.

        Args:
            settings: the settings.
            terminal: target of the progress bar, which is shown on terminals only.
        """
        self.settings = settings
        self.device = choose_device(settings.device)
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        self.num_epochs = settings.epochs
        self.num_iterations_per_epoch = settings.iterations_per_epoch
        self.num_val_iterations_per_epoch = settings.validation_iterations
        self.save_every = settings.checkpoint_every
        self.enable_deep_supervision = not settings.network
        self.bar = tqdm(
            desc="epochs", total=settings.epochs, file=terminal, disable=None, leave=False
        )

    @property
    def plain_network(self) -> nn.Module:
        """The network without the wrapper of a compiled one."""
        network = self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def initialize(self) -> None:
        """Build the network with weights that depend on the seed alone."""
        seed_everything(self.settings.seed, 0)
        super().initialize()

    def build_network_architecture(
        self,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The planned network, or ours."""
        return build_architecture(
            self.settings,
            configuration_manager,
            num_input_channels,
            num_output_channels,
            enable_deep_supervision,
        )

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the planned network's auxiliary outputs; ours has none."""
        if not self.settings.network:
            super().set_deep_supervision_enabled(enabled)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:  # noqa: N802
        """Augment as nnU-Net does, but mirror only if `flips` is set."""
        rotation, dummy_2d, patch_size, axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        self.mirror_axes = tuple(axes) if self.settings.flips else ()
        self.inference_allowed_mirroring_axes = self.mirror_axes or None
        return rotation, dummy_2d, patch_size, self.mirror_axes

    def do_split(self) -> tuple[list[str], list[str]]:
        """Training scans and held-out scans.

        Raises:
            UserError: an unknown fold, for which nnU-Net would draw a random split.
        """
        path = Path(self.preprocessed_dataset_folder_base) / "splits_final.json"
        folds = len(json.loads(path.read_text())) if path.is_file() else 0
        if not (isinstance(self.fold, int) and 0 <= self.fold < folds):
            raise UserError(f"{path}: has {folds} folds, but fold {self.fold} is to be trained.")
        return super().do_split()

    def on_epoch_start(self) -> None:
        """Seed each epoch by the seed and its number, for the same result of a resumed run."""
        seed_everything(self.settings.seed, self.current_epoch + 1)
        super().on_epoch_start()

    def on_epoch_end(self) -> None:
        """Save as nnU-Net does, and report progress."""
        super().on_epoch_end()
        self.bar.n = self.current_epoch
        self.bar.refresh()
        value = self.logger.get_value
        seconds = value("epoch_end_timestamps", -1) - value("epoch_start_timestamps", -1)
        logger.info(
            "epoch %d of %d: loss %.3f, validation loss %.3f, pseudo Dice %.3f, %s left",
            self.current_epoch,
            self.num_epochs,
            value("train_losses", -1),
            value("val_losses", -1),
            value("mean_fg_dice", -1),
            tqdm.format_interval(seconds * (self.num_epochs - self.current_epoch)),
        )

    def on_train_end(self) -> None:
        """Save the final checkpoint and close the progress bar."""
        super().on_train_end()
        self.bar.close()

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint atomically."""
        with atomic_path(filename) as temporary:
            super().save_checkpoint(str(temporary))

    def _do_i_compile(self) -> bool:
        # torch.compile cannot trace the depthwise gradients of our networks.
        return not self.settings.network and super()._do_i_compile()


def build_architecture(
    settings: NnunetSettings,
    configuration: ConfigurationManager,
    channels: int,
    classes: int,
    deep_supervision: bool,
) -> nn.Module:
    """The network named in the settings, or else the planned one, with fresh weights."""
    if settings.network:
        return build_network(settings.network, classes, **settings.network_options)
    return get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        classes,
        deep_supervision=deep_supervision,
    )


def make_trainer(
    settings: NnunetSettings,
    fold: int,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    terminal: TextIO,
) -> Trainer:
    """A trainer of one fold, in the folders of nnU-Net's environment variables."""
    plans = {**plans, "continue_training": False}
    trainer = Trainer(plans, CONFIGURATION, fold, dataset, torch.device("cpu"))
    trainer.adopt(settings, terminal)
    return trainer


def seed_everything(seed: int, epoch: int) -> None:
    """Seed all generators of nnU-Net and its augmentation."""
    drawn = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
