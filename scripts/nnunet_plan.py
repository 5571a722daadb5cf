"""Take the fingerprint of nnU-Net's raw data set, and plan.

Reads nnUNet_raw's data set; writes dataset_fingerprint.json, nnUNetPlans.json, dataset.json and
splits_final.json to nnUNet_preprocessed. Usage: LOG --settings JSON --processes N.
"""

import argparse
import json

from vertseg.nnunet.process import nnunet_log
from vertseg.nnunet.settings import PlanSettings

# nnU-Net spawns its workers, which import this script.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--processes", type=int, required=True)
    options = parser.parse_args()
    with nnunet_log(options.log):
        # Imported here, where a missing nnU-Net is explained.
        from vertseg.nnunet.planning import plan

        plan(PlanSettings.from_config(options.settings), options.processes)
