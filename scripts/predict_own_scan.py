"""Label, segment and measure the vertebrae of one of the user's scans.

Reads the scan (any format of `vertseg predict`) and a model. Writes {scan}_result.json and beside
it the label map, centroids, measures, preview and the report's small volumes, and for a DICOM
series the DICOM objects asked for; in case of a failure {scan}_failed.json alone, with the reason.
The outcome is the name of the JSON file.
"""

from pathlib import Path

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.predict.batch import log_failure
from vertseg.predict.earlier import remove_outputs
from vertseg.predict.pipeline import Options, predict_scan, write_failure
from vertseg.segmentation.model import load_model

with step_log(snakemake.log[0]):
    model = load_model(snakemake.params.model, snakemake.threads)
    folder = Path(snakemake.params.results)
    scan, name = snakemake.input.scan, snakemake.wildcards.scan
    options = Options(
        folder,
        force=True,
        dicom=frozenset(snakemake.params.dicom),
        decoding=snakemake.params.decoding,
    )
    try:
        outcome = predict_scan(scan, name, model, options)
    except Exception as error:
        reason = log_failure(scan, error)
        remove_outputs(folder, name)
        outcome = write_failure(folder, name, scan, reason)
    write_text(snakemake.output[0], f"{outcome.name}\n")
