#!/usr/bin/env bash
# ONNX 1.23.2: the reference evaluator's LogSoftmax is minus infinity where a class is sure enough.
#
# The logarithm of a softmax is the logit minus a logarithm of a sum, a plain number for any logits.
# Expected: -110 for the lower of two logits that are 110 apart, as ONNX Runtime and PyTorch give it. Seen:
# the evaluator takes the logarithm of the probability, which is too small for its 32 bits: -inf from 104
# on, and with float16 from 18 on. Whatever sums it up (a loss, the score of a sequence of vertebrae, a
# mean over voxels) is infinite or nan; all that tells is numpy's warning of a division by 0.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator


def lower(apart: float, kind: type) -> tuple[float, float]:
    """LogSoftmax of the lower of two logits, by the evaluator and by ONNX Runtime."""
    logits = np.array([[0, -apart]], kind)
    number = helper.np_dtype_to_tensor_dtype(logits.dtype)
    node = helper.make_node("LogSoftmax", ["x"], ["y"], axis=1)
    x, y = (helper.make_tensor_value_info(name, number, logits.shape) for name in "xy")
    graph = helper.make_graph([node], "logarithm", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [run(None, {"x": logits})[0] for run in (ReferenceEvaluator(model).run, session.run)]
    return float(found[0][0, 1]), float(found[1][0, 1])


infinite = {}
for kind, distances in {np.float32: (50, 103, 104, 110), np.float16: (10, 17, 18)}.items():
    for apart in distances:
        found, runtime = lower(apart, kind)
        assert abs(runtime + apart) < 0.02
        infinite[kind, apart] = np.isneginf(found)
        print(f"{kind.__name__}, logits {apart} apart: evaluator {found:.2f}, ONNX Runtime {runtime:.2f}")
seen = {key for key, is_so in infinite.items() if is_so}
sys.exit(seen != {(np.float32, 104), (np.float32, 110), (np.float16, 18)})
END
