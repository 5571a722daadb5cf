"""Scans of your own, without labels: everything `vertseg predict` writes, and one report of all."""

from vertseg.dataset.layout import OWN_SCAN_SUFFIXES, RESULT_SUFFIX
from vertseg.segmentation.settings import OWN_SCANS_DECODING, SHIPPED_FILES

PREDICT = config.get("predict", {})


rule predict_own_scan:
    input:
        scan=lambda wildcards: OWN_SCANS[wildcards.scan],
        model=PREDICT.get("model", list(map(str, SHIPPED_FILES.values()))),
    output:
        **{
            kind: f"{RESULTS}/{{scan}}{suffix}"
            for kind, suffix in OWN_SCAN_SUFFIXES.items()
            # Of DICOM series alone, and only if asked for.
            if kind != "dicom_seg"
        },
        result=f"{RESULTS}/{{scan}}{RESULT_SUFFIX}",
    log:
        f"{RESULTS}/logs/predict_own_scan/{{scan}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_own_scan/{{scan}}.tsv"
    group:
        "own_scans"
    conda:
        "../envs/predict.yaml"
    threads: 2
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        model=PREDICT.get("model"),
        dicom_seg=PREDICT.get("dicom_seg", False),
        decoding=PREDICT.get("decoding", OWN_SCANS_DECODING),
        code=code("predict_own_scan.py"),
    script:
        "../scripts/predict_own_scan.py"


rule predictions_report:
    input:
        expand(f"{RESULTS}/{{scan}}{RESULT_SUFFIX}", scan=OWN_SCANS),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/predictions_report.log",
    conda:
        "../envs/predict.yaml"
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        code=code("predictions_report.py"),
    script:
        "../scripts/predictions_report.py"
