#!/usr/bin/env bash
# OpenVINO 2026.4.1: a model's Resize with antialiasing is run without it.
#
# The attribute antialias of ONNX's Resize (from version 18 on) widens the filter when an image is made
# smaller. Expected: the same numbers as ONNX Runtime, or an error, as for other attributes that OpenVINO
# does not know. Seen: the attribute is passed over. A plate of one voxel (a thin cortex, say) in an image
# that is made four times smaller keeps its sum in ONNX Runtime; in OpenVINO it doubles or is gone,
# depending on where it lies.
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

SIDE, SMALL = 32, 8


def resize(image: np.ndarray, antialias: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (1, 1, z, y, x) at a quarter of its size, by ONNX Runtime and by OpenVINO."""
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"],
        mode="linear", coordinate_transformation_mode="half_pixel", antialias=antialias,
    )
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [5], [1, 1, SMALL, SMALL, SMALL])
    graph = helper.make_graph(
        [node], "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, SMALL, SMALL, SMALL))],
        [sizes],
    )
    opsets = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    checker.check_model(model)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(data), "CPU", precision)
    return session.run(None, {"x": image})[0], compiled(image)[0]


sums = {}
for place in (16, 17, 18, 19):
    plate = np.zeros((1, 1, SIDE, SIDE, SIDE), np.float32)
    plate[:, :, place] = 1
    found, plain = resize(plate, antialias=1), resize(plate, antialias=0)
    assert np.allclose(*plain, atol=1e-6)
    assert np.allclose(found[1], plain[1], atol=1e-6)
    scale = (SIDE / SMALL) ** 3 / plate.sum()
    sums[place] = [float(cells.sum() * scale) for cells in found]
    print("plate at %d: %.0f %% (ONNX Runtime), %.0f %% (OpenVINO)" %
          (place, *(100 * share for share in sums[place])))
kept = all(abs(runtime - 1) < 0.02 for runtime, _ in sums.values())
sys.exit(not (kept and {round(other) for _, other in sums.values()} == {0, 2}))
END
