"""Training of one network on cached scans: settings, data, checkpoints, records, the loop."""

from vertseg.training.loop import train
from vertseg.training.settings import TrainingSettings

__all__ = ["TrainingSettings", "train"]
