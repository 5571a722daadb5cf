"""Settings of trainings in tests: the paper's, with changes."""

from typing import Any

import yaml
from conftest import ROOT

from vertseg.dataset.config import Config, complete_config, nnunet_settings, training_settings
from vertseg.nnunet.settings import NnunetSettings
from vertseg.training.settings import TrainingSettings

SCHEMA = ROOT / "schemas/config.schema.yaml"
STATED: Config = yaml.safe_load((ROOT / "config.yaml").read_text())
"""The paper's configuration as its file states it."""

PAPER = complete_config(STATED, SCHEMA)
"""The paper's configuration with all defaults."""


def recipe_values(network: str, **changes: Any) -> dict[str, Any]:
    """Values of `TrainingSettings`: the paper's recipe for a network, with changes."""
    return training_settings(PAPER, network) | changes


def recipe(network: str, **changes: Any) -> TrainingSettings:
    """The paper's recipe for a network, with changes."""
    return TrainingSettings.from_config(recipe_values(network, **changes))


def nnunet_recipe(**changes: Any) -> NnunetSettings:
    """The paper's recipe for the network that nnU-Net plans, with changes."""
    return NnunetSettings.from_config(nnunet_settings(PAPER, "nnunet") | changes)
