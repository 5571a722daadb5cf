#!/usr/bin/env bash
# ONNX 1.23.2: the reference evaluator runs the Softmax of models up to version 12 with the rules of version 13.
#
# Up to version 12 of the operators, Softmax takes an image as a matrix and sums over all axes from its own
# on; from version 13 on, over that axis alone. Expected: the rules of the model's own version, as ONNX
# Runtime follows them and as the evaluator does for other operators, or an error. Seen: those of version 13
# for all models, so that with axis=1 a volume's probabilities sum up to 1 in every voxel, where the model
# says in the whole volume: a model whose export was wrong looks right in the evaluator that checks it.
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

SHAPE = (1, 3, 4, 4, 4)
logits = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)

sums = {}
for version in (11, 12, 13):
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    graph = helper.make_graph([node], "probabilities", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=7)
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [run(None, {"x": logits})[0] for run in (ReferenceEvaluator(model).run, session.run)]
    sums[version] = [float(probabilities.sum()) for probabilities in found]
    print("version %d: all values sum up to %.2f (evaluator), %.2f (ONNX Runtime)" % (version, *sums[version]))
whole, voxels = 1, np.prod(SHAPE[2:])
right = np.allclose([sums[version][1] for version in (11, 12, 13)], [whole, whole, voxels])
sys.exit(not (right and np.allclose([sums[version][0] for version in (11, 12, 13)], voxels)))
END
