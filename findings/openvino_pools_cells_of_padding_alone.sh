#!/usr/bin/env bash
# OpenVINO 2026.4.1: pooling with ceil_mode makes cells of padding alone, or averages with too much of it.
#
# ONNX says of ceil_mode that windows which would start in the padding at the end are left out; PyTorch
# and ONNX Runtime do so. Expected: the same from OpenVINO. Seen, with voxels that are all 1: MaxPool of 5
# voxels (window 2, step 2, padding 1) has a cell more, which is -inf or -3e38 and spoils whatever is
# computed from it; AveragePool (window 3, step 2, padding 1, padding counted) divides the last cells of
# an even number of voxels by 3 along each axis instead of 2: 0.04 in the corner instead of 0.13.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, checker, helper


def pool(kind: str, side: int, **attributes: int | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Pooled ones (1, 1, side, side, side), by ONNX Runtime and by OpenVINO."""
    node = helper.make_node(kind, ["x"], ["y"], pads=[1] * 6, ceil_mode=1, **attributes)
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, side, side, side)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, "a", "b", "c")),
    ]
    graph = helper.make_graph([node], "pool", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 22)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    checker.check_model(model)
    data, ones = model.SerializeToString(), np.ones((1, 1, side, side, side), np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(data), "CPU", precision)
    return session.run(None, {"x": ones})[0], compiled(ones)[0]


largest = pool("MaxPool", 5, kernel_shape=[2] * 3, strides=[2] * 3)
average = pool("AveragePool", 6, kernel_shape=[3] * 3, strides=[2] * 3, count_include_pad=1)
odd = pool("AveragePool", 5, kernel_shape=[3] * 3, strides=[2] * 3, count_include_pad=1)
for name, found in (("MaxPool of 5", largest), ("AveragePool of 6", average), ("of 5", odd)):
    for program, cells in zip(("ONNX Runtime", "OpenVINO"), found):
        print(f"{name}, {program}: {cells.shape[-1]} cells, "
              f"row {' '.join(f'{cell:.3g}' for cell in cells[0, 0, 1, 1])}, corner {cells[0, 0, -1, -1, -1]:.3g}")
extra = largest[0].shape[-1] == 3 and largest[1].shape[-1] == 4
infinite = np.all(largest[0] == 1) and np.all(largest[1][0, 0, -1] < -1e38)
corners = np.allclose([cells[0, 0, -1, -1, -1] for cells in average], [1 / 8, 1 / 27], atol=1e-4)
sys.exit(not (extra and infinite and corners and np.allclose(*odd)))
END
