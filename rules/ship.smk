"""Networks for users: as ONNX models, as MONAI bundles, and as the model that comes with the package."""

from vertseg.segmentation.settings import SHIPPED, SHIPPED_CARD, SHIPPED_FILES

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


rule export_bundle:
    input:
        weights=f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors",
        licence=str(BASE / "LICENSE"),
    output:
        f"{RESULTS}/models/{{method}}/fold{{fold}}/vertseg_{{method}}_fold{{fold}}.zip",
    log:
        f"{RESULTS}/logs/export_bundle/{{method}}_fold{{fold}}.log",
    wildcard_constraints:
        method=one_of(OWN_METHODS),
    conda:
        f"../envs/torch_{config['torch']}.yaml"
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(20),
    params:
        code=code("export_bundle.py"),
    script:
        "../scripts/export_bundle.py"


use rule export_bundle as export_shipped_bundle with:
    input:
        weights=str(SHIPPED_FILES["torch"]),
        licence=str(BASE / "LICENSE"),
        card=str(SHIPPED_CARD),
    output:
        f"{RESULTS}/{SHIPPED}.zip",
    log:
        f"{RESULTS}/logs/export_bundle/{SHIPPED}.log",


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
