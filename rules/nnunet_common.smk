"""Where nnU-Net's files lie, and how its steps are started."""

import json
import shlex

from snakemake.settings.types import DeploymentMethod

from vertseg.nnunet.settings import CONFIGURATION, DATASET, PLANS

NNUNET = f"{RESULTS}/nnunet"
NNUNET_RAW = f"{NNUNET}/raw/{DATASET}"
NNUNET_DATA = f"{NNUNET}/preprocessed/{DATASET}"
NNUNET_SCANS = f"{NNUNET_DATA}/{PLANS}_{CONFIGURATION}"

# Decides what is logged, and how failures read.
NNUNET_LOG = ["nnunet.process"]


def nnunet_step(script, workers=1, results=f"{NNUNET}/trained"):
    """The start of a command: a script of nnU-Net's with the environment variables it needs."""
    by_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    variables = {
        "PYTHONPATH": BASE,
        "nnUNet_raw": f"{NNUNET}/raw",
        "nnUNet_preprocessed": f"{NNUNET}/preprocessed",
        "nnUNet_results": results,
        "nnUNet_n_proc_DA": workers,
        "nnUNet_def_n_proc": "{threads}",
        "OMP_NUM_THREADS": 1,
        "TORCHINDUCTOR_COMPILE_THREADS": 1,
    }
    python = "python" if by_conda else shlex.quote(config["nnunet"]["python"])
    settings = [
        f"{name}={shlex.quote(str(value))}" for name, value in variables.items()
    ]
    return " ".join(
        [*settings, python, shlex.quote(f"{BASE}/scripts/{script}"), "{log} "]
    )
