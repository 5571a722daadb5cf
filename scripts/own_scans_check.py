"""Fail if a scan could not be predicted, with the names and reasons, after the report is written.

Reads the scans' outcomes; removes those of failed scans, so that the next run predicts them again.
"""

import json
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.logs import step_log
from vertseg.dataset.layout import FAILURE_SUFFIX

with step_log(snakemake.log[0]):
    folder = Path(snakemake.params.results)
    failed = {}
    for path in map(Path, snakemake.input.outcomes):
        outcome = folder / path.read_text().strip()
        if outcome.name.endswith(FAILURE_SUFFIX):
            failed[path] = json.loads(outcome.read_text())["error"]
    for path in failed:
        path.unlink()
    if failed:
        total = len(snakemake.input.outcomes)
        raise UserError(
            f"{len(failed)} of {total} scans failed; {snakemake.input[0]} has all of them, and the "
            "same command tries the failed ones again:\n"
            + "\n".join(f"{path.stem}: {reason}" for path, reason in failed.items())
        )
