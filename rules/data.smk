"""Labelled scans, and the sheets that list them."""

if config["data"]["source"] == "phantom":

    rule generate_phantoms:
        output:
            ct=[sample.ct for sample in SAMPLES.values()],
            mask=[sample.mask for sample in SAMPLES.values()],
            centroids=[sample.centroids for sample in SAMPLES.values()],
        log:
            f"{RESULTS}/logs/generate_phantoms.log",
        benchmark:
            f"{RESULTS}/benchmarks/generate_phantoms.tsv"
        conda:
            "../envs/volumes.yaml"
        threads: 8
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            root=lambda wildcards, output: Path(output.ct[0]).parents[2],
            scans=list(SAMPLES),
            seed=config["seed"],
            preset=config["data"]["phantom"]["preset"],
        script:
            "../scripts/generate_phantoms.py"


rule sample_sheets:
    input:
        [sample.mask for sample in SAMPLES.values()] if DOWNLOADED_SPLITS else [],
    output:
        samples=f"{RESULTS}/samples.tsv",
        folds=f"{RESULTS}/folds.tsv",
    log:
        f"{RESULTS}/logs/sample_sheets.log",
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        samples=[vars(sample) for sample in SAMPLES.values()],
        fold_of=FOLD_OF,
        find_centroids=bool(DOWNLOADED_SPLITS),
    script:
        "../scripts/sample_sheets.py"


rule audit:
    input:
        samples=f"{RESULTS}/samples.tsv",
        ct=[sample.ct for sample in SAMPLES.values()],
        mask=[sample.mask for sample in SAMPLES.values()],
    output:
        f"{RESULTS}/audit.tsv",
    log:
        f"{RESULTS}/logs/audit.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit.tsv"
    conda:
        "../envs/volumes.yaml"
    threads: 4
    resources:
        mem_mb=16000,
        runtime=60,
    script:
        "../scripts/audit.py"
