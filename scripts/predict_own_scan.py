"""Label, segment and measure the vertebrae of one of the user's scans.

Reads the scan (any format of `vertseg predict`) and a model. Writes {scan}_result.json and beside
it the label map, centroids, measures, preview and the report's small volumes, and for a DICOM
series the DICOM objects asked for; in case of a failure {scan}_failed.json alone, with the reason.
The outcome is the name of the JSON file. The work is done in another process: if that is killed in
the last attempt, too, it is a failure of the scan.
"""

from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.core.parallel import KilledError, run_apart
from vertseg.predict.batch import locked_output, log_failure
from vertseg.predict.earlier import remove_outputs, remove_partial
from vertseg.predict.pipeline import Options, predict_scan, write_failure
from vertseg.segmentation.model import load_model

folder = Path(snakemake.params.results)
scan, name = snakemake.input.scan, snakemake.wildcards.scan


def predict() -> str:
    """Predict the scan; the name of the outcome's JSON file."""
    options = Options(
        folder,
        force=True,
        dicom=frozenset(snakemake.params.dicom),
        decoding=snakemake.params.decoding,
        outlines=snakemake.params.outlines,
        threads=snakemake.threads,
    )
    model = load_model(snakemake.params.model, snakemake.threads)
    try:
        return predict_scan(scan, name, model, options).name
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> str:
    """Replace all files of the scan by the reason of its failure; the name of that file."""
    reason = log_failure(scan, error)
    remove_outputs(folder, name)
    return write_failure(folder, name, scan, reason).name


with step_log(snakemake.log[0]), locked_output(folder, alone=False):
    try:
        outcome = run_apart(predict)
    except KilledError:
        error = UserError(
            f"{scan}: the process that predicted it was killed, most likely since this machine or "
            "the job's limit has too little memory for it."
        )
        remove_partial(folder, name)
        if snakemake.resources.attempt <= snakemake.params.retries:
            raise error from None
        outcome = failed(error)
    write_text(snakemake.output[0], f"{outcome}\n")
