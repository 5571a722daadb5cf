#!/usr/bin/env bash
# ONNX 1.23.2: the reference evaluator's LpNormalization with p=1 sums values up with their signs.
#
# LpNormalization divides by the p-norm along an axis, which for p=1 is the sum of absolute values, and the
# evaluator's results are what other runtimes are compared with. Expected: outputs whose absolute values
# sum up to 1, as ONNX Runtime and PyTorch's normalize give them. Seen: signs are summed up too, so that
# features of both signs are blown up (-2 for the 3 of 3, -2, -2.5) or turned round; with p=2, and with
# features that are not negative, it is right.
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


def normalised(features: np.ndarray, p: int) -> list[np.ndarray]:
    """Features (1, channel, z, y, x) over their channels' p-norm: evaluator, ONNX Runtime, formula."""
    node = helper.make_node("LpNormalization", ["x"], ["y"], axis=1, p=p)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, features.shape) for name in "xy")
    graph = helper.make_graph([node], "norm", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    formula = features / np.linalg.norm(features, ord=p, axis=1, keepdims=True)
    return [run(None, {"x": features})[0] for run in (ReferenceEvaluator(model).run, session.run)] + [formula]


features = np.array([3, -2, -2.5], np.float32).reshape(1, 3, 1, 1, 1)
right = {}
for name, values in {"of both signs": features, "not negative": np.abs(features)}.items():
    for p in (1, 2):
        found, runtime, formula = normalised(values, p)
        assert np.allclose(runtime, formula)
        right[name, p] = bool(np.allclose(found, formula))
        rows = (found.ravel().round(3), runtime.ravel().round(3))
        print(f"features {name}, p={p}: evaluator %s, ONNX Runtime %s" % rows)
sys.exit(not (right.pop(("of both signs", 1)) is False and all(right.values())))
END
