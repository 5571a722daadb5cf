"""Describe a finished run as a Workflow Run RO-Crate, in its folder of results.

Reads everything that the run read and wrote, for its SHA-256; writes ro-crate-metadata.json,
configuration.yaml and a copy of the workflow.
"""

import json
from pathlib import Path

from vertseg.core.logs import step_log
from vertseg.core.run_crate import Run, write_run_crate

with step_log(snakemake.log[0]):
    results = Path(snakemake.params.results)
    outcomes = [results / Path(path).read_text().strip() for path in snakemake.input.outcomes]
    own_scans = [
        results / name
        for outcome in outcomes
        for name in (json.loads(outcome.read_text()).get("files") or {}).values()
        if name
    ]
    write_run_crate(
        Run(
            results,
            Path(snakemake.params.workflow),
            snakemake.config,
            snakemake.params.snakemake,
            list(map(Path, snakemake.input.read)),
            [*map(Path, snakemake.input.written), *outcomes, *own_scans],
        )
    )
