#!/usr/bin/env bash
# panoptica 2.1.7: distances of the whole mask are in voxels where those of single vertebrae are in mm.
#
# Panoptica_Evaluator.evaluate takes the spacing of voxels, and gives metrics for each instance and, as
# global metrics, for all of them as one mask. Expected: with one instance both are the same. Seen: the
# spacing is used for instances alone; the global Hausdorff distance, average distance and distance of
# centres are those of voxels of 1 mm, in the same report, so that with slices of 3 mm an error of 12 mm
# along the patient counts as 4.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check panoptica==2.1.7 numpy==2.2.6

venv/bin/python - <<'END' 2> log.txt || { cat log.txt >&2; exit 1; }
import sys

import numpy as np
from panoptica import InputType, Metric, Panoptica_Evaluator

truth = np.zeros((40, 40, 40), np.uint8)
truth[10:20, 10:20, 10:20] = 1
found = np.roll(truth, 4, axis=0)  # four voxels along the first axis
metrics = [Metric.HD, Metric.ASSD, Metric.CEDI]

same, times = [], []
for spacing_mm in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (3.0, 3.0, 3.0)):
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE, instance_metrics=metrics, global_metrics=metrics
    )
    (result,) = evaluator.evaluate(found, truth, voxelspacing=spacing_mm).values()
    values = result.to_dict()
    pairs = {
        metric.name: (
            float(values[f"sq_{metric.name.lower()}"]),
            float(values[f"global_bin_{metric.name.lower()}"]),
        )
        for metric in metrics
    }
    shown = ", ".join(f"{name} {one:.2f} mm, of all as one {whole:.2f}" for name, (one, whole) in pairs.items())
    print(f"voxels of {spacing_mm} mm: {shown}")
    assert pairs["HD"][0] == pairs["CEDI"][0] == 4 * spacing_mm[0]
    same.append([whole for _, whole in pairs.values()])
    times.append([one / whole for one, whole in pairs.values()])
voxels = same[0] == same[1] == same[2]
sys.exit(not (voxels and np.allclose(times[0], 1) and np.allclose(times[2], 3)))
END
