"""Dice, identification and localisation of every predicted scan."""


rule evaluate:
    input:
        predictions=f"{RESULTS}/predictions/{{method}}/fold{{fold}}",
        samples=f"{RESULTS}/samples.tsv",
        folds=f"{RESULTS}/folds.tsv",
        caches=caches(DEVELOPMENT_SCANS),
        references=scan_files(DEVELOPMENT_SCANS, *REFERENCES),
    output:
        scans=f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_scans.csv",
        labels=f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_labels.csv",
    log:
        f"{RESULTS}/logs/evaluate/{{method}}_fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{method}}_fold{{fold}}.tsv"
    conda:
        "../envs/volumes.yaml"
    threads: lambda wildcards: side_by_side(4)
    resources:
        mem_mb=by_attempt(8000),
        runtime=by_attempt(60),
    params:
        fold=lambda wildcards: wildcards.fold,
        state=lambda wildcards: scans_state(DEVELOPMENT_SCANS, *REFERENCES),
        code=code("evaluate.py", without=LISTS),
    script:
        "../scripts/evaluate.py"
