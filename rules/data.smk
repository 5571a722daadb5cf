"""Labelled scans, the sheet that lists them, what is odd about them, and their folds."""

LISTED_SAMPLES = {
    "rows": [vars(sample) for sample in SAMPLES.values()],
    "searched": SPLIT_FOLDERS,
}

if config["data"]["source"] == "phantom":

    rule generate_phantoms:
        output:
            directory(PHANTOMS),
        log:
            f"{RESULTS}/logs/generate_phantoms.log",
        benchmark:
            f"{RESULTS}/benchmarks/generate_phantoms.tsv"
        conda:
            "../envs/volumes.yaml"
        threads: 8
        resources:
            mem_mb=by_attempt(4000),
            runtime=by_attempt(60),
        params:
            scans=DEVELOPMENT_SCANS,
            seed=config["seed"],
            preset=config["data"]["phantom"]["preset"],
            code=code("generate_phantoms.py"),
        script:
            "../scripts/generate_phantoms.py"


rule sample_sheet:
    input:
        scan_files(SAMPLES, "mask") if DOWNLOADED_SPLITS else [],
    output:
        f"{RESULTS}/samples.tsv",
    log:
        f"{RESULTS}/logs/sample_sheet.log",
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        listed=LISTED_SAMPLES,
    script:
        "../scripts/sample_sheet.py"


rule audit:
    input:
        scan_files(SAMPLES, "ct", "mask", "centroids", "labels"),
    output:
        f"{RESULTS}/audit.tsv",
    log:
        f"{RESULTS}/logs/audit.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit.tsv"
    # Before the steps that read the same scans and stop at the first bad one; they cannot wait
    # for it as an input, or a new scan would make all of them run again.
    priority: 1
    conda:
        "../envs/volumes.yaml"
    threads: 4
    resources:
        mem_mb=by_attempt(16000),
        runtime=by_attempt(60),
    params:
        listed=LISTED_SAMPLES,
        state=lambda wildcards: scans_state(SAMPLES, "ct", *REFERENCES),
        code=code("audit.py"),
    script:
        "../scripts/audit.py"


rule folds:
    input:
        # Once drawn the folds stay, whatever a later audit finds.
        audit=ancient(f"{RESULTS}/audit.tsv"),
    output:
        f"{RESULTS}/folds.tsv",
    log:
        f"{RESULTS}/logs/folds.log",
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        subject_of=subject_of,
        number=config["folds"]["number"],
        seed=config["seed"],
    script:
        "../scripts/folds.py"
