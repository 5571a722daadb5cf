"""Export a trained network as a MONAI bundle, for programs that know MONAI.

Reads its weights (safetensors), the licence and, if it has one, the model's card; writes the bundle
(ZIP).
"""

from vertseg.core.logs import step_log
from vertseg.segmentation.bundle import export_bundle

with step_log(snakemake.log[0]):
    export_bundle(
        snakemake.input.weights,
        snakemake.output[0],
        snakemake.input.licence,
        snakemake.input.get("card"),
    )
