"""Methods whose engine is nnU-Net: its data set, plan, training and predictions.

All but the data set run in nnU-Net's own environment and are told where its folders are.
"""

import json
import shlex

from snakemake.settings.types import DeploymentMethod

from vertseg.nnunet.dataset import CONFIGURATION, DATASET, PLANS

NNUNET = f"{RESULTS}/nnunet"
NNUNET_RAW = f"{NNUNET}/raw/{DATASET}"
NNUNET_DATA = f"{NNUNET}/preprocessed/{DATASET}"
NNUNET_SCANS = f"{NNUNET_DATA}/{PLANS}_{CONFIGURATION}"


def nnunet_step(script, workers=1, results=f"{NNUNET}/trained"):
    """The start of a command: a script of nnU-Net's with the environment variables it needs."""
    by_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    variables = {
        "PYTHONPATH": BASE,
        "nnUNet_raw": f"{NNUNET}/raw",
        "nnUNet_preprocessed": f"{NNUNET}/preprocessed",
        "nnUNet_results": results,
        "nnUNet_n_proc_DA": workers,
        "nnUNet_def_n_proc": "{threads}",
        "OMP_NUM_THREADS": 1,
        "TORCHINDUCTOR_COMPILE_THREADS": 1,
    }
    python = "python" if by_conda else shlex.quote(config["nnunet"]["python"])
    settings = [
        f"{name}={shlex.quote(str(value))}" for name, value in variables.items()
    ]
    return " ".join(
        [*settings, python, shlex.quote(f"{BASE}/scripts/{script}"), "{log} "]
    )


rule nnunet_scan:
    input:
        ct=lambda wildcards: SAMPLES[wildcards.scan].ct,
        mask=lambda wildcards: SAMPLES[wildcards.scan].mask,
        labels=lambda wildcards: SAMPLES[wildcards.scan].labels or [],
        audit=ancient(f"{RESULTS}/audit.tsv"),
    output:
        image=f"{NNUNET_RAW}/imagesTr/{{scan}}_0000.nii.gz",
        label_map=f"{NNUNET_RAW}/labelsTr/{{scan}}.nii.gz",
    log:
        f"{RESULTS}/logs/nnunet_scan/{{scan}}.log",
    group:
        "preprocess"
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=4000,
        runtime=10,
    script:
        "../scripts/nnunet_scan.py"


rule nnunet_dataset:
    input:
        folds=ancient(f"{RESULTS}/folds.tsv"),
    output:
        dataset=f"{NNUNET_RAW}/dataset.json",
        splits=f"{NNUNET_RAW}/splits_final.json",
    log:
        f"{RESULTS}/logs/nnunet_dataset.log",
    conda:
        "../envs/volumes.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        scans=DEVELOPMENT_SCANS,
        folds=config["folds"]["number"],
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
        mem_mb=24000,
        runtime=120,
    params:
        settings=json.dumps(config["nnunet"]["plan"]),
    shell:
        nnunet_step("nnunet_plan.py")
        + "--settings {params.settings:q} --processes {threads}"


rule nnunet_preprocess:
    input:
        rules.nnunet_plan.output,
        expand(rules.nnunet_scan.output, scan=DEVELOPMENT_SCANS),
    output:
        expand(
            f"{NNUNET_SCANS}/{{scan}}{{end}}",
            scan=DEVELOPMENT_SCANS,
            end=[".b2nd", "_seg.b2nd", ".pkl"],
        ),
        expand(
            f"{NNUNET_DATA}/gt_segmentations/{{scan}}.nii.gz", scan=DEVELOPMENT_SCANS
        ),
    log:
        f"{RESULTS}/logs/nnunet_preprocess.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_preprocess.tsv"
    conda:
        "../envs/nnunet.yaml"
    threads: 4
    resources:
        mem_mb=48000,
        runtime=240,
    shell:
        nnunet_step("nnunet_preprocess.py") + "--processes {threads}"


rule nnunet_train:
    input:
        rules.nnunet_plan.output,
        rules.nnunet_preprocess.output,
    output:
        weights=f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
        log=f"{RESULTS}/models/{{method}}/fold{{fold}}/log.csv",
        settings=f"{RESULTS}/models/{{method}}/fold{{fold}}/settings.json",
        progress=f"{RESULTS}/models/{{method}}/fold{{fold}}/progress.png",
    log:
        f"{RESULTS}/logs/nnunet_train/{{method}}_fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_train/{{method}}_fold{{fold}}.tsv"
    wildcard_constraints:
        method=one_of(NNUNET_METHODS),
    conda:
        "../envs/nnunet.yaml"
    threads: 8
    resources:
        mem_mb=32000,
        runtime=2880,
        gpu=config["gpus"],
    params:
        settings=lambda wildcards: json.dumps(nnunet_settings(config, wildcards.method)),
        folder=lambda wildcards, output: Path(output.weights).parent,
    shell:
        nnunet_step(
            "nnunet_train.py",
            config["nnunet"]["workers"],
            f"{NNUNET}/trained/{{wildcards.method}}",
        )
        + "--settings {params.settings:q} --fold {wildcards.fold} --threads {threads} "
        "--folder {params.folder:q}"


rule nnunet_predict:
    input:
        weights=[f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors"],
        samples=f"{RESULTS}/samples.tsv",
        ct=[SAMPLES[scan].ct for scan in DEVELOPMENT_SCANS],
        caches=caches(DEVELOPMENT_SCANS),
        folds=ancient(f"{RESULTS}/folds.tsv"),
        references=rules.nnunet_preprocess.output,
    output:
        directory(f"{RESULTS}/predictions/{{method}}/fold{{fold}}"),
    log:
        f"{RESULTS}/logs/nnunet_predict/{{method}}_fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/nnunet_predict/{{method}}_fold{{fold}}.tsv"
    wildcard_constraints:
        method=one_of(NNUNET_METHODS),
    conda:
        "../envs/nnunet.yaml"
    threads: 4
    resources:
        mem_mb=48000,
        runtime=600,
        gpu=config["gpus"],
    params:
        device=config["training"]["device"],
        fold=lambda wildcards: wildcards.fold,
        cache=f"{RESULTS}/cache",
    shell:
        nnunet_step("nnunet_predict.py")
        + "--weights {input.weights:q} --samples {input.samples:q} --folds {input.folds:q} "
        "--cache {params.cache:q} --fold {params.fold} --device {params.device} "
        "--threads {threads} --folder {output:q}"
