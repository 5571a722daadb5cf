#!/usr/bin/env bash
# seg-metrics 1.2.8: a vertebra that was missed has a Hausdorff distance of 0, as if it had been found.
#
# Distances to a mask without voxels are not defined: MedPy refuses them, MONAI gives infinity, others nan.
# Expected: one of these. Seen: hd, hd95, msd and mdsd are all 0, the best that there is, so that means over
# scans get better with each vertebra that is missed; Dice and recall, from the same call, are 0.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check seg-metrics==1.2.8

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import numpy as np
from seg_metrics.seg_metrics import write_metrics

METRICS = ["hd", "hd95", "msd", "mdsd", "dice", "recall"]
truth = np.zeros((20, 30, 40), np.uint8)
truth[5:15, 5:15, 5:15] = 1
near = np.roll(truth, 3, axis=2)
missed = np.zeros_like(truth)


def measure(found: np.ndarray) -> dict[str, float]:
    (rows,) = write_metrics(labels=[1], gdth_img=truth, pred_img=found, metrics=list(METRICS))
    return {name: float(rows[name][0]) for name in METRICS}


close, absent = measure(near), measure(missed)
for name, found in (("3 voxels off", close), ("missed", absent)):
    print(name, {metric: round(value, 2) for metric, value in found.items()})
sys.exit(not (close["hd"] == 3 and close["dice"] == 0.7 and set(absent.values()) == {0.0}))
END
