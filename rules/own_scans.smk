"""Scans of your own, without labels: everything `vertseg predict` writes, and one report of all."""


rule predict_own_scan:
    input:
        scan=lambda wildcards: OWN_SCANS[wildcards.scan],
        model=config.get("predict", {}).get("model", []),
    output:
        result=f"{RESULTS}/{{scan}}_result.json",
        mask=f"{RESULTS}/{{scan}}_seg-vert_msk.nii.gz",
        centroids=f"{RESULTS}/{{scan}}_seg-vert_ctd.json",
        measures=f"{RESULTS}/{{scan}}_measures.csv",
        preview=f"{RESULTS}/{{scan}}_preview.png",
        viewer_ct=f"{RESULTS}/{{scan}}_viewer_ct.nii.gz",
        viewer_mask=f"{RESULTS}/{{scan}}_viewer_msk.nii.gz",
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
        dicom_seg=config.get("predict", {}).get("dicom_seg", False),
        in_order=config.get("predict", {}).get("in_order", True),
        code=code_version(
            "centroids",
            "dicom",
            "figures",
            "grid",
            "itk",
            "labels",
            "notice",
            "order",
            "predict",
            "report/results",
            "report/viewer",
            "scan_files",
            "scans",
            "screening",
            "spine",
            "volumes",
        ),
    script:
        "../scripts/predict_own_scan.py"


rule predictions_report:
    input:
        expand(f"{RESULTS}/{{scan}}_result.json", scan=OWN_SCANS),
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
        code=code_version(
            "centroids", "figures", "labels", "notice", "report", "volumes"
        ),
    script:
        "../scripts/predictions_report.py"
