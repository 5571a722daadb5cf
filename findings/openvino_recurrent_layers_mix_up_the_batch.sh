#!/usr/bin/env bash
# OpenVINO 2026.4.1: an LSTM, GRU or RNN of ONNX with the batch first is run with batch and steps exchanged.
#
# Since version 14 these operators have an attribute layout: with 1, axes are (batch, steps, features).
# Expected: each sequence of the batch by itself, as with layout 0 and transposed axes, or an error, as
# ONNX Runtime gives it. Seen: the attribute is ignored, and three sequences of two steps are read as two
# sequences of three steps, so that values of one scan run into another's; nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

BATCH, STEPS, FEATURES, HIDDEN = 3, 2, 4, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
random = np.random.default_rng(0)
sequences = random.normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)
core = ov.Core()


def last_states(operator: str, layout: int, by_openvino: bool) -> np.ndarray:
    """Last hidden state of each sequence (batch, hidden); the weights are the same for both layouts."""
    weights = np.random.default_rng(1)
    rows = GATES[operator] * HIDDEN
    stored = [
        numpy_helper.from_array(weights.normal(size=(1, rows, columns)).astype(np.float32), name)
        for name, columns in (("w", FEATURES), ("r", HIDDEN))
    ]
    values = sequences if layout else np.ascontiguousarray(sequences.swapaxes(0, 1))
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w", "r"], ["", "h"], hidden_size=HIDDEN, layout=layout)],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, None)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    if by_openvino:
        compiled = core.compile_model(
            core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        found = compiled([values])[0]
    else:
        (found,) = ReferenceEvaluator(model).run(None, {"x": values})
    return found.reshape(-1, HIDDEN)


seen = []
for operator in GATES:
    true = last_states(operator, 0, by_openvino=False)
    steps_first = last_states(operator, 0, by_openvino=True)
    batch_first = last_states(operator, 1, by_openvino=True)
    right = steps_first.shape == true.shape and np.allclose(steps_first, true, atol=1e-4)
    wrong = batch_first.shape != true.shape or not np.allclose(batch_first, true, atol=1e-2)
    print(
        f"{operator}: {len(true)} sequences; OpenVINO with layout 0: {'right' if right else 'wrong'}; "
        f"with layout 1: {len(batch_first)} sequences"
    )
    seen.append(right and wrong and len(batch_first) == STEPS)
sys.exit(not all(seen))
END
