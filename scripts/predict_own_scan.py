"""Label, segment and measure the vertebrae of one scan of the user's.

Reads the scan (any format of `vertseg predict`) and a model; writes beside its result
({scan}_result.json) the label map, centroids, measures, preview and the report's small volumes,
and for DICOM series, if asked to, {scan}_seg.dcm.
"""

from pathlib import Path

from vertseg.core.logs import step_log
from vertseg.predict.pipeline import Options, predict_scan
from vertseg.segmentation.model import load_model

if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        predict_scan(
            snakemake.input.scan,
            snakemake.wildcards.scan,
            load_model(snakemake.params.model, snakemake.threads),
            Options(
                Path(snakemake.output.result).parent,
                force=True,
                dicom_seg=snakemake.params.dicom_seg,
                decoding=snakemake.params.decoding,
            ),
        )
