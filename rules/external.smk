"""The external test: scans that no network trained on, predicted by the folds' networks together."""


use rule predict as predict_external with:
    input:
        weights=expand(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
            fold=FOLDS,
            allow_missing=True,
        ),
        caches=method_caches(EXTERNAL_SCANS),
        cts=method_cts(EXTERNAL_SCANS),
        folds=f"{RESULTS}/folds.tsv",
    output:
        directory(f"{RESULTS}/predictions/{{method}}/external"),
    log:
        f"{RESULTS}/logs/predict/{{method}}_external.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict/{{method}}_external.tsv"
    params:
        device=config["device"],
        fold="external",


use rule nnunet_predict as nnunet_predict_external with:
    input:
        weights=expand(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
            fold=FOLDS,
            allow_missing=True,
        ),
        samples=f"{RESULTS}/samples.tsv",
        ct=scan_files(EXTERNAL_SCANS, "ct"),
        caches=caches(EXTERNAL_SCANS),
        folds=f"{RESULTS}/folds.tsv",
    output:
        directory(f"{RESULTS}/predictions/{{method}}/external"),
    log:
        f"{RESULTS}/logs/nnunet_predict/{{method}}_external.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_predict/{{method}}_external.tsv"
    params:
        device=config["device"],
        fold="external",
        cache=lambda wildcards, input: Path(input.caches[0]).parent,


use rule evaluate as evaluate_external with:
    input:
        predictions=f"{RESULTS}/predictions/{{method}}/external",
        samples=f"{RESULTS}/samples.tsv",
        folds=f"{RESULTS}/folds.tsv",
        caches=caches(EXTERNAL_SCANS),
        references=scan_files(EXTERNAL_SCANS, *REFERENCES),
    output:
        scans=f"{RESULTS}/evaluation/{{method}}/external_scans.csv",
        labels=f"{RESULTS}/evaluation/{{method}}/external_labels.csv",
    log:
        f"{RESULTS}/logs/evaluate/{{method}}_external.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{method}}_external.tsv"
    params:
        fold="external",
        state=lambda wildcards: scans_state(EXTERNAL_SCANS, *REFERENCES),


use rule table1 as external_table with:
    input:
        scans=expand(
            f"{RESULTS}/evaluation/{{method}}/external_scans.csv", method=METHODS
        ),
        labels=expand(
            f"{RESULTS}/evaluation/{{method}}/external_labels.csv", method=METHODS
        ),
        weights=every_run(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors"
        ),
    output:
        csv=f"{RESULTS}/external.csv",
        markdown=f"{RESULTS}/external.md",
        latex=f"{RESULTS}/external.tex",
        per_label=f"{RESULTS}/external_per_label.csv",
        html=in_report(f"{RESULTS}/external.html", "Results", "External test"),
    log:
        f"{RESULTS}/logs/external_table.log",
    params:
        title="External test",
