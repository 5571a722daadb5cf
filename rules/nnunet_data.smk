"""nnU-Net's data set, plan and preprocessed scans, which all its methods share."""


rule nnunet_scan:
    input:
        scan=lambda wildcards: scan_files([wildcards.scan], "ct", "mask", "labels"),
    output:
        image=f"{NNUNET_RAW}/imagesTr/{{scan}}_0000.nii.gz",
        label_map=f"{NNUNET_RAW}/labelsTr/{{scan}}.nii.gz",
    log:
        f"{RESULTS}/logs/nnunet_scan/{{scan}}.log",
    group:
        "nnunet_scans"
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        ct=sample_path("ct"),
        mask=sample_path("mask"),
        labels=sample_path("labels"),
        state=lambda wildcards: scans_state([wildcards.scan], "ct", "mask", "labels"),
        code=code("nnunet_scan.py", without=["dataset.folds"]),
    script:
        "../scripts/nnunet_scan.py"


rule nnunet_dataset:
    input:
        folds=f"{RESULTS}/folds.tsv",
    output:
        dataset=f"{NNUNET_RAW}/dataset.json",
        splits=f"{NNUNET_RAW}/splits_final.json",
    log:
        f"{RESULTS}/logs/nnunet_dataset.log",
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        scans=DEVELOPMENT_SCANS,
        folds=config["folds"]["number"],
        code=code("nnunet_dataset.py", without=["dataset.folds"]),
    script:
        "../scripts/nnunet_dataset.py"


rule nnunet_plan:
    input:
        rules.nnunet_dataset.output,
        expand(rules.nnunet_scan.output, scan=DEVELOPMENT_SCANS),
    output:
        plans=f"{NNUNET_DATA}/{PLANS}.json",
        fingerprint=f"{NNUNET_DATA}/dataset_fingerprint.json",
        dataset=f"{NNUNET_DATA}/dataset.json",
        splits=f"{NNUNET_DATA}/splits_final.json",
    log:
        f"{RESULTS}/logs/nnunet_plan.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_plan.tsv"
    conda:
        "../envs/nnunet.yaml"
    threads: 4
    resources:
        mem_mb=by_attempt(24000),
        runtime=by_attempt(120),
    params:
        settings=json.dumps(config["nnunet"]["plan"]),
        code=code("nnunet_plan.py", without=NNUNET_LOG),
    shell:
        nnunet_step("nnunet_plan.py")
        + "--settings {params.settings:q} --processes {threads}"


rule nnunet_preprocess:
    input:
        rules.nnunet_plan.output,
        expand(rules.nnunet_scan.output, scan=DEVELOPMENT_SCANS),
    output:
        # Not the folder: Snakemake would put a file of its own there, which nnU-Net refuses.
        expand(
            f"{NNUNET_SCANS}/{{scan}}{{end}}",
            scan=DEVELOPMENT_SCANS,
            end=[".b2nd", "_seg.b2nd", ".pkl"],
        ),
        directory(f"{NNUNET_DATA}/gt_segmentations"),
    log:
        f"{RESULTS}/logs/nnunet_preprocess.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_preprocess.tsv"
    conda:
        "../envs/nnunet.yaml"
    threads: 4
    resources:
        mem_mb=by_attempt(48000),
        runtime=by_attempt(240),
    params:
        code=code("nnunet_preprocess.py", without=NNUNET_LOG),
    shell:
        nnunet_step("nnunet_preprocess.py") + "--processes {threads}"
