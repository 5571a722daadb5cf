"""Label, segment and measure the vertebrae of one of the user's scans.

Reads the scan (any format of `vertseg predict`) and a model; writes {scan}_result.json and beside
it the label map, centroids, measures, preview and the report's small volumes, and for a DICOM
series, if asked for, {scan}_seg.dcm.
"""

from pathlib import Path

from vertseg.core.logs import step_log
from vertseg.predict.pipeline import Options, predict_scan
from vertseg.segmentation.model import load_model

with step_log(snakemake.log[0]):
    model = load_model(snakemake.params.model, snakemake.threads)
    options = Options(
        Path(snakemake.output.result).parent,
        force=True,
        dicom_seg=snakemake.params.dicom_seg,
        decoding=snakemake.params.decoding,
    )
    predict_scan(snakemake.input.scan, snakemake.wildcards.scan, model, options)
