"""Scans of your own, without labels: everything `vertseg predict` writes, and one report of all.

A scan that cannot be predicted does not fail its job: its outcome names the file with the reason, the
report shows it, and the last step fails and lists it.
"""

from vertseg.dataset.layout import REPORT_NAME
from vertseg.segmentation.settings import OWN_SCANS_DECODING, SHIPPED_FILES

PREDICT = config.get("predict", {})
OUTCOMES = f"{RESULTS}/outcomes"

# How often a scan whose job was killed is tried again, with more memory, before it counts as failed.
KILLED_AGAIN = 2


rule predict_own_scan:
    input:
        scan=lambda wildcards: OWN_SCANS[wildcards.scan],
        model=PREDICT.get("model", list(map(str, SHIPPED_FILES.values()))),
    output:
        f"{OUTCOMES}/{{scan}}.txt",
    log:
        f"{RESULTS}/logs/predict_own_scan/{{scan}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_own_scan/{{scan}}.tsv"
    retries: KILLED_AGAIN
    group:
        "own_scans"
    conda:
        "../envs/predict.yaml"
    threads: 2
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
        attempt=by_attempt(1),
    params:
        results=lambda wildcards, output: str(Path(output[0]).parents[1]),
        retries=KILLED_AGAIN,
        state=own_scan_state,
        model=PREDICT.get("model"),
        dicom=PREDICT.get("dicom", []),
        decoding=PREDICT.get("decoding", OWN_SCANS_DECODING),
        outlines=PREDICT.get("outlines"),
        code=code("predict_own_scan.py"),
    script:
        "../scripts/predict_own_scan.py"


rule predictions_report:
    input:
        expand(f"{OUTCOMES}/{{scan}}.txt", scan=OWN_SCANS),
    output:
        f"{RESULTS}/{REPORT_NAME}",
    log:
        f"{RESULTS}/logs/predictions_report.log",
    conda:
        "../envs/predict.yaml"
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        results=lambda wildcards, output: str(Path(output[0]).parent),
        code=code("predictions_report.py"),
    script:
        "../scripts/predictions_report.py"


rule own_scans_check:
    input:
        f"{RESULTS}/{REPORT_NAME}",
        outcomes=expand(f"{OUTCOMES}/{{scan}}.txt", scan=OWN_SCANS),
    output:
        touch(f"{OUTCOMES}/all_predicted"),
    log:
        f"{RESULTS}/logs/own_scans_check.log",
    # It removes the outcomes of failed scans, so that the next run predicts them.
    retries: 0
    localrule: True
    conda:
        "../envs/predict.yaml"
    params:
        results=lambda wildcards, input: str(Path(input[0]).parent),
        code=code("own_scans_check.py"),
    script:
        "../scripts/own_scans_check.py"
