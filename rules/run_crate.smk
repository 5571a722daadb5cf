"""Provenance of a run, asked for by name: a Workflow Run RO-Crate, the folder of results itself."""

from importlib.metadata import version

from vertseg.segmentation.settings import SHIPPED_FILES


def run_inputs(wildcards):
    """Files and folders that a run reads and none of its steps writes."""
    if OWN_SCANS:
        model = PREDICT.get("model")
        return [*OWN_SCANS.values(), *([model] if model else SHIPPED_FILES.values())]
    weights = [
        training_settings(config, method).get("initial_weights")
        for method in OWN_METHODS
    ]
    if config["data"]["source"] == "phantom":
        return list(filter(None, weights))
    kinds = ("ct", "mask", "centroids", "labels")
    scans = [getattr(sample, kind) for sample in SAMPLES.values() for kind in kinds]
    return list(dict.fromkeys(filter(None, [*weights, *scans])))


def run_outputs(wildcards):
    """Results of a run but for logs and caches; of own scans, the outcomes name the others."""
    if OWN_SCANS:
        return [f"{RESULTS}/{REPORT_NAME}"]
    return [
        *STUDY,
        *(f"{RESULTS}/{name}.tsv" for name in ("samples", "folds", "audit")),
        *every_run(f"{RESULTS}/predictions/{{method}}/fold{{fold}}"),
        *every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_scans.csv"),
        *every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_labels.csv"),
        *every_run(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors", OWN_METHODS
        ),
    ]


rule run_crate:
    input:
        read=run_inputs,
        written=run_outputs,
        outcomes=expand(f"{OUTCOMES}/{{scan}}.txt", scan=OWN_SCANS),
    output:
        f"{RESULTS}/ro-crate-metadata.json",
    log:
        f"{RESULTS}/logs/run_crate.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(60),
    params:
        results=lambda wildcards, output: str(Path(output[0]).parent),
        workflow=str(BASE),
        snakemake=version("snakemake"),
        code=code("run_crate.py"),
    script:
        "../scripts/run_crate.py"
