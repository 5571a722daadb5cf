#!/usr/bin/env bash
# OpenVINO 2026.4.1: a traced PyTorch model's softplus is converted without its beta and its threshold.
#
# PyTorch's softplus is log(1 + exp(beta x)) / beta, and x itself once beta x is above the threshold
# (documented). Expected of openvino.convert_model: the same values, or an error, as for what it cannot
# convert. Seen: both arguments are left out, so that at 0 a softplus with beta 0.5 is 0.69 instead of 1.39,
# and one with beta 2 is 0.69 instead of 0.35: a spread that a network predicts is half or twice as large.
# Models given with an example input are traced; exported programs, and ONNX, are right. Nothing warns.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import contextlib
import io
import sys

import numpy as np
import openvino
import torch

values = torch.linspace(-3, 3, 7).reshape(1, 1, 1, 1, 7)


def run(model: object) -> np.ndarray:
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(values.numpy())[0].ravel()


off = {}
for arguments in ({}, {"beta": 0.5}, {"beta": 2.0}, {"threshold": 1.0}):
    module = torch.nn.Softplus(**arguments).eval()
    true = module(values).numpy().ravel()
    exported = torch.export.export(module, (values,))
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(module, (values,), "softplus.onnx", dynamo=True)
    found = {
        "traced": run(openvino.convert_model(module, example_input=values)),
        "exported": run(openvino.convert_model(exported)),
        "onnx": run(openvino.convert_model("softplus.onnx")),
    }
    name = " ".join(f"{key} {value}" for key, value in arguments.items()) or "no arguments"
    off[name] = {way: float(np.abs(result - true).max()) for way, result in found.items()}
    print(f"{name}: at 0 {true[3]:.2f} (PyTorch), {found['traced'][3]:.2f} (converted);"
          f" furthest off {', '.join(f'{way} {error:.2f}' for way, error in off[name].items())}")
traced = {name: errors.pop("traced") for name, errors in off.items()}
right = [traced.pop("no arguments")] + [error for errors in off.values() for error in errors.values()]
sys.exit(not (max(right) < 1e-3 and min(traced.values()) > 0.1))
END
