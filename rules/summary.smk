"""For the workflow's report: tables as pages, and the time and memory of its long steps."""

PAGES = {
    "per_label": ("per_label.csv", "Results", "Vertebra by vertebra"),
    "audit": ("audit.tsv", "Data", "Audit of all scans"),
    "run_cost": ("run_cost.tsv", "Run", "Time and memory of the long steps"),
}


rule run_cost:
    input:
        # What the long steps end in, so that this one comes last.
        f"{RESULTS}/table1.csv",
        f"{RESULTS}/external.csv" if EXTERNAL_SCANS else [],
    output:
        f"{RESULTS}/run_cost.tsv",
    log:
        f"{RESULTS}/logs/run_cost.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        folder=f"{RESULTS}/benchmarks",
        code=code("run_cost.py"),
    script:
        "../scripts/run_cost.py"


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
