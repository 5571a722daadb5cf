"""Methods whose engine is nnU-Net. A killed training goes on from its last checkpoint."""


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
        mem_mb=by_attempt(32000),
        runtime=by_attempt(2880),
        gpu=config["gpus"],
    params:
        settings=lambda wildcards: json.dumps(nnunet_settings(config, wildcards.method)),
        folder=lambda wildcards, output: Path(output.weights).parent,
        code=code("nnunet_train.py", without=NNUNET_LOG),
    shell:
        nnunet_step(
            "nnunet_train.py",
            config["nnunet"]["workers"],
            f"{NNUNET}/trained/{{wildcards.method}}",
        )
        + "--settings {params.settings:q} --fold {wildcards.fold} "
        "--threads {threads} --gpus {resources.gpu} "
        "--folder {params.folder:q}"


rule nnunet_predict:
    input:
        weights=[f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors"],
        samples=f"{RESULTS}/samples.tsv",
        ct=scan_files(DEVELOPMENT_SCANS, "ct"),
        caches=caches(DEVELOPMENT_SCANS),
        folds=f"{RESULTS}/folds.tsv",
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
        mem_mb=by_attempt(48000),
        runtime=by_attempt(600),
        gpu=config["gpus"],
    params:
        device=config["device"],
        fold=lambda wildcards: wildcards.fold,
        cache=lambda wildcards, input: Path(input.caches[0]).parent,
        code=code("nnunet_predict.py", without=[*NNUNET_LOG, *LISTS]),
    shell:
        nnunet_step("nnunet_predict.py")
        + "--weights {input.weights:q} --samples {input.samples:q} --folds {input.folds:q} "
        "--cache {params.cache:q} --fold {params.fold} --device {params.device} "
        "--threads {threads} --gpus {resources.gpu} --folder {output:q}"
