"""Screening measures against the phantom's truth (docs/screening.md); asked for by name."""

if config["data"]["source"] == "phantom":

    rule screening_validation:
        input:
            unpack(
                lambda wildcards: (
                    {}
                    if wildcards.masks == "reference"
                    else {
                        "predictions": expand(
                            f"{RESULTS}/predictions/{wildcards.masks}/fold{{fold}}",
                            fold=FOLDS,
                        )
                    }
                )
            ),
            samples=f"{RESULTS}/samples.tsv",
            ct=[SAMPLES[scan].ct for scan in DEVELOPMENT_SCANS],
            mask=[SAMPLES[scan].mask for scan in DEVELOPMENT_SCANS],
        output:
            vertebrae=f"{RESULTS}/screening/{{masks}}_vertebrae.csv",
            agreement=f"{RESULTS}/screening/{{masks}}_agreement.csv",
            grades=f"{RESULTS}/screening/{{masks}}_grades.csv",
            figures=multiext(f"{RESULTS}/screening/{{masks}}", ".pdf", ".png"),
        log:
            f"{RESULTS}/logs/screening/{{masks}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/screening/{{masks}}.tsv"
        wildcard_constraints:
            masks="|".join(["reference", *METHODS]),
        conda:
            "../envs/report.yaml"
        threads: 4
        resources:
            mem_mb=by_attempt(8000),
            runtime=by_attempt(60),
        params:
            title=lambda wildcards: (
                "Phantoms, reference masks"
                if wildcards.masks == "reference"
                else f"Phantoms, masks predicted by {METHODS[wildcards.masks]['label']}"
            ),
            drawn_on=lambda wildcards: (
                method_grid(config, wildcards.masks)
                if wildcards.masks in OWN_METHODS
                else None
            ),
            code=code("screening_validation.py", without=["dataset.samples"]),
        script:
            "../scripts/screening_validation.py"
