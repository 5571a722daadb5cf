"""Light-weight, single-stage vertebra labelling and segmentation in CT."""

__version__ = "0.3.0.dev0"
