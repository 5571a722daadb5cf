"""The networks of the paper's Table 1, their weights files, and the devices that run them.

This file imports nothing, so that ONNX prediction can read it without PyTorch.
"""

FEATURE_STRIDE = 4
"""Cells of the grid per voxel of the feature map, along each axis, in the paper's networks."""
