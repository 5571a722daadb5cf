#!/usr/bin/env bash
# PyTorch 2.13.0: an exported model averages by the size of the window instead of by divisor_override.
#
# avg_pool3d (and AvgPool3d) divides sums over windows by divisor_override where it is given (documented).
# ONNX's AveragePool has no such attribute. Expected of torch.onnx.export: the same values by other means
# (a multiplication), or an error, as for other things that ONNX cannot do. Seen: the argument is left
# out without a word by both exporters, and with a divisor of 1, which makes sums of 2 x 2 x 2 voxels, the
# ONNX model's values are an eighth of PyTorch's.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
import onnxruntime as ort
import torch

scan = torch.rand(1, 2, 6, 8, 10, generator=torch.Generator().manual_seed(0))
found = {}
for divisor in (None, 1):
    model = torch.nn.AvgPool3d(2, divisor_override=divisor).eval()
    true = model(scan).numpy()
    for dynamo in (True, False):
        torch.onnx.export(model, (scan,), "model.onnx", dynamo=dynamo, external_data=False, verbose=False)
        session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        (values,) = session.run(None, {session.get_inputs()[0].name: scan.numpy()})
        found[divisor, dynamo] = float(np.mean(values / true))
        name = "torch.export" if dynamo else "TorchScript"
        print(f"divisor_override={divisor}, by {name}: {found[divisor, dynamo]:.3f} of PyTorch's values")
same = all(abs(found[None, dynamo] - 1) < 1e-5 for dynamo in (True, False))
eighth = all(abs(found[1, dynamo] - 1 / 8) < 1e-5 for dynamo in (True, False))
sys.exit(not (same and eighth))
END
