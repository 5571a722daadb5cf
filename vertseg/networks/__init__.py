"""The networks of the paper's Table 1, trained networks on disk, and where they run.

This file imports nothing, so that ONNX prediction can read it without PyTorch.
"""

FEATURE_STRIDE = 4
"""Cells of the grid along a voxel of the feature map, of all networks with ASPP."""
