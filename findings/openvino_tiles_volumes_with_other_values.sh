#!/usr/bin/env bash
# OpenVINO 2026.4.1: Tile of a volume along its three axes gives values that are not the volume's.
#
# ONNX's Tile takes its numbers of repeats as an input, which a model may compute or be given. Expected:
# numpy.tile's result, as ONNX Runtime gives it. Seen: where the repeats are known only when the model runs,
# an image with channels that is repeated along all of depth, rows and columns has hardly a right value,
# without an error. Along two of them, or with repeats that are stored in the model, all is right.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

scan = np.random.default_rng(0).random((1, 2, 3, 4, 5), dtype=np.float32)
core = ov.Core()


def wrong(repeats: tuple[int, ...], stored: bool) -> dict[str, float]:
    """Shares of wrong values of OpenVINO and of ONNX Runtime."""
    numbers = np.array(repeats, np.int64)
    inputs = [helper.make_tensor_value_info("scan", TensorProto.FLOAT, scan.shape)]
    feed = {"scan": scan}
    if not stored:
        inputs.append(helper.make_tensor_value_info("repeats", TensorProto.INT64, [5]))
        feed["repeats"] = numbers
    graph = helper.make_graph(
        [helper.make_node("Tile", ["scan", "repeats"], ["tiled"])],
        "tile",
        inputs,
        [helper.make_tensor_value_info("tiled", TensorProto.FLOAT, [None] * 5)],
        [numpy_helper.from_array(numbers, "repeats")] if stored else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content = model.SerializeToString()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {
        "OpenVINO": compiled(feed)[0],
        "ONNX Runtime": ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feed)[0],
    }
    true = np.tile(scan, repeats)
    assert all(values.shape == true.shape for values in found.values())
    return {name: float(np.mean(values != true)) for name, values in found.items()}


found = {}
for repeats in ((1, 1, 1, 2, 2), (1, 1, 2, 2, 1), (2, 3, 2, 1, 1), (1, 1, 2, 2, 2), (1, 2, 2, 2, 2)):
    for stored in (True, False):
        found[repeats, stored] = wrong(repeats, stored)
        where = "stored" if stored else "an input"
        print(repeats, where, {name: f"{share:.0%} wrong" for name, share in found[repeats, stored].items()})
odd = [not stored and min(repeats[2:]) > 1 for repeats, stored in found]
seen = [shares["OpenVINO"] > 0.9 if out else shares["OpenVINO"] == 0 for out, shares in zip(odd, found.values())]
sys.exit(not (all(seen) and all(shares["ONNX Runtime"] == 0 for shares in found.values())))
END
