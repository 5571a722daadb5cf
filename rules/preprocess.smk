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
        scans=lambda wildcards: preprocessed([wildcards.scan]),
        grid=lambda wildcards: GRIDS[wildcards.grid],
        state=lambda wildcards: scans_state([wildcards.scan], "ct", "mask", "labels"),
        code=code("preprocess.py"),
    script:
        "../scripts/preprocess.py"


if config["data"]["source"] == "phantom":

    # One step writes all phantoms, so that a job for each would only cost a start of Python each.
    use rule preprocess as preprocess_phantoms with:
        input:
            scan_files(DEVELOPMENT_SCANS, "ct"),
        output:
            [
                f"{RESULTS}/cache/{{grid}}/{scan}.safetensors"
                for scan in DEVELOPMENT_SCANS
            ],
        log:
            f"{RESULTS}/logs/preprocess/{{grid}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/preprocess/{{grid}}.tsv"
        # Before trainings on other grids, beside which it could not have all cores.
        priority: 1
        threads: 8
        resources:
            mem_mb=by_attempt(16000),
            runtime=by_attempt(60),
        params:
            scans=preprocessed(DEVELOPMENT_SCANS),
            grid=lambda wildcards: GRIDS[wildcards.grid],
            state="",
            code=code("preprocess.py"),

    ruleorder: preprocess_phantoms > preprocess
