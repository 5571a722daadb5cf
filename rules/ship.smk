"""Networks for users: as ONNX models, and as the model that comes with the package."""

FIRST_NETWORK = f"{RESULTS}/models/{config['reference_method']}/fold{FOLDS[0]}/weights"


rule export_onnx:
    input:
        f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
    output:
        f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.onnx",
    log:
        f"{RESULTS}/logs/export_onnx/{{method}}_fold{{fold}}.log",
    wildcard_constraints:
        method=one_of(OWN_METHODS),
    conda:
        f"../envs/torch_{config['torch']}.yaml"
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(20),
    params:
        code=code("export_onnx.py"),
    script:
        "../scripts/export_onnx.py"


rule ship_model:
    input:
        multiext(FIRST_NETWORK, ".safetensors", ".onnx"),
    log:
        f"{RESULTS}/logs/ship_model.log",
    conda:
        "../envs/predict.yaml"
    resources:
        mem_mb=by_attempt(500),
        runtime=by_attempt(10),
    script:
        "../scripts/ship_model.py"
