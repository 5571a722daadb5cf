"""Table 1, and the figures: Figure 1, the data set, the learning curves."""


rule table1:
    input:
        scans=every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_scans.csv"),
        labels=every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_labels.csv"),
        weights=every_run(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors"
        ),
    output:
        csv=f"{RESULTS}/table1.csv",
        markdown=f"{RESULTS}/table1.md",
        latex=f"{RESULTS}/table1.tex",
        per_label=f"{RESULTS}/per_label.csv",
        html=in_report(f"{RESULTS}/table1.html", "Results", "Table 1"),
    log:
        f"{RESULTS}/logs/table1.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        methods=METHODS,
        reference_method=config["reference_method"],
        seed=config["seed"],
        excluded=EXCLUDED_SCANS,
        title="Table 1",
        code=code("table1.py", without=["dataset.folds"]),
    script:
        "../scripts/table1.py"


rule dataset_figure:
    input:
        f"{RESULTS}/audit.tsv",
    output:
        f"{RESULTS}/dataset.pdf",
        in_report(f"{RESULTS}/dataset.png", "Data", "Vertebrae and fields of view"),
    log:
        f"{RESULTS}/logs/dataset_figure.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        code=code("dataset_figure.py"),
    script:
        "../scripts/dataset_figure.py"


rule learning_curves:
    input:
        every_run(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/log.csv", methods=OWN_METHODS
        ),
    output:
        f"{RESULTS}/learning_curves.pdf",
        in_report(f"{RESULTS}/learning_curves.png", "Training", "Learning curves"),
    log:
        f"{RESULTS}/logs/learning_curves.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        methods=METHODS,
        code=code("learning_curves.py"),
    script:
        "../scripts/learning_curves.py"


rule figure1:
    input:
        scans=expand(
            f"{RESULTS}/evaluation/{{method}}/fold{FOLDS[0]}_scans.csv", method=METHODS
        ),
        labels=expand(
            f"{RESULTS}/evaluation/{{method}}/fold{FOLDS[0]}_labels.csv",
            method=METHODS,
        ),
        predictions=expand(
            f"{RESULTS}/predictions/{{method}}/fold{FOLDS[0]}", method=METHODS
        ),
        samples=f"{RESULTS}/samples.tsv",
    output:
        multiext(f"{RESULTS}/figure1", ".pdf", ".svg"),
        in_report(f"{RESULTS}/figure1.png", "Results", "Figure 1"),
    log:
        f"{RESULTS}/logs/figure1.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        methods=METHODS,
        code=code("figure1.py", without=["dataset.samples"]),
    script:
        "../scripts/figure1.py"
