"""For the workflow's report: tables as pages, and what the run's long steps took."""

PAGES = {
    "per_label": ("per_label.csv", "Results", "Vertebra by vertebra"),
    "audit": ("audit.tsv", "Data", "Audit of all scans"),
    "benchmarks": ("benchmarks.tsv", "Run", "Time and memory of the long steps"),
}


rule benchmarks:
    input:
        # What the long steps end in, so that this one comes last.
        f"{RESULTS}/table1.csv",
        f"{RESULTS}/external.csv" if EXTERNAL_SCANS else [],
    output:
        f"{RESULTS}/benchmarks.tsv",
    log:
        f"{RESULTS}/logs/benchmarks.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        folder=lambda wildcards, output: output[0].removesuffix(".tsv"),
        code=code("collect_benchmarks.py"),
    script:
        "../scripts/collect_benchmarks.py"


for page, (table, category, title) in PAGES.items():

    rule:
        name:
            f"{page}_page"
        input:
            f"{RESULTS}/{table}",
        output:
            in_report(f"{RESULTS}/{page}.html", category, title),
        log:
            f"{RESULTS}/logs/{page}_page.log",
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=by_attempt(1000),
            runtime=by_attempt(10),
        params:
            title=title,
            code=code("table_page.py"),
        script:
            "../scripts/table_page.py"
