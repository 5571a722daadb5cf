"""One network a method and fold. A killed job goes on from its last checkpoint."""


rule train:
    input:
        caches=training_caches,
        folds=f"{RESULTS}/folds.tsv",
        initial_weights=initial_weights,
    output:
        weights=f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
        log=f"{RESULTS}/models/{{method}}/fold{{fold}}/log.csv",
    log:
        f"{RESULTS}/logs/train/{{method}}_fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{method}}_fold{{fold}}.tsv"
    wildcard_constraints:
        method=one_of(OWN_METHODS),
    conda:
        f"../envs/torch_{config['torch']}.yaml"
    threads: lambda wildcards: side_by_side(8)
    resources:
        mem_mb=by_attempt(16000),
        runtime=by_attempt(240),
        gpu=config["gpus"],
    params:
        settings=lambda wildcards: training_settings(config, wildcards.method),
        folder=lambda wildcards, output: Path(output.weights).parent,
        folds=config["folds"]["number"],
        state=lambda wildcards: files_state(initial_weights(wildcards)),
        code=code(
            "train.py",
            # The folds are an input; measures decide the validation columns of log.csv alone.
            without=["dataset.folds", "evaluation"],
        ),
    script:
        "../scripts/train.py"
