"""Provenance of a run, asked for by name: a Workflow Run RO-Crate, the folder of results itself."""

from importlib.metadata import version


rule run_crate:
    input:
        read=run_inputs,
        written=run_outputs,
        outcomes=expand(f"{OUTCOMES}/{{scan}}.txt", scan=OWN_SCANS),
    output:
        f"{RESULTS}/ro-crate-metadata.json",
    log:
        f"{RESULTS}/logs/run_crate.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(60),
    params:
        results=lambda wildcards, output: str(Path(output[0]).parent),
        workflow=str(BASE),
        snakemake=version("snakemake"),
        code=code("run_crate.py"),
    script:
        "../scripts/run_crate.py"
