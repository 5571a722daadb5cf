"""Label maps and centroids of a fold's validation scans, in each scan's own space."""


rule predict:
    input:
        weights=[f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors"],
        caches=method_caches(DEVELOPMENT_SCANS),
        cts=method_cts(DEVELOPMENT_SCANS),
        folds=f"{RESULTS}/folds.tsv",
    output:
        directory(f"{RESULTS}/predictions/{{method}}/fold{{fold}}"),
    log:
        f"{RESULTS}/logs/predict/{{method}}_fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict/{{method}}_fold{{fold}}.tsv"
    wildcard_constraints:
        method=one_of(OWN_METHODS),
    conda:
        f"../envs/torch_{config['torch']}.yaml"
    threads: lambda wildcards: side_by_side(4)
    resources:
        mem_mb=by_attempt(8000),
        runtime=by_attempt(60),
        gpu=config["gpus"],
    params:
        device=config["device"],
        fold=lambda wildcards: wildcards.fold,
        keep_grid=lambda wildcards: (
            method_grid(config, wildcards.method) == config["grid"]
        ),
        decoding=lambda wildcards: METHODS[wildcards.method]["decoding"],
        cts=lambda wildcards: (
            {scan: sample.ct for scan, sample in SAMPLES.items()}
            if METHODS[wildcards.method]["outlines"] == "ct"
            else None
        ),
        code=code("predict.py", without=["dataset.folds"]),
    script:
        "../scripts/predict.py"
