"""Screening measures against the phantom's truth (docs/screening.md); asked for by name."""

if config["data"]["source"] == "phantom":

    rule screening_validation:
        input:
            predictions=measured_masks,
            samples=f"{RESULTS}/samples.tsv",
            phantoms=PHANTOMS,
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
                and METHODS[wildcards.masks]["outlines"] == "network"
                else None
            ),
            code=code("screening_validation.py", without=["dataset.samples"]),
        script:
            "../scripts/screening_validation.py"
