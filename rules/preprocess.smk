"""Scans on the networks' grids."""

GRIDS = grids(config)


wildcard_constraints:
    grid="|".join(GRIDS),


rule preprocess:
    input:
        scan=lambda wildcards: scan_files([wildcards.scan], "ct", "mask", "labels"),
    output:
        f"{RESULTS}/cache/{{grid}}/{{scan}}.safetensors",
    log:
        f"{RESULTS}/logs/preprocess/{{grid}}_{{scan}}.log",
    group:
        "preprocess"
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        ct=sample_path("ct"),
        mask=sample_path("mask"),
        labels=sample_path("labels"),
        grid=lambda wildcards: GRIDS[wildcards.grid],
        code=code("preprocess.py"),
    script:
        "../scripts/preprocess.py"
