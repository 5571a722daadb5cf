"""VerSe's archives: download, compare with the committed sheet, unpack, verify.

Only `download` needs a network. The registry, the mirrors and the sheets are read by the scripts
and are no inputs or params: a new mirror or a fresh checkout is no reason to download again.
"""

ARCHIVE = f"{config['data']['folder']}/{{release}}/{{split}}.zip"


wildcard_constraints:
    release="verse19|verse20",
    split="training|validation|test",


rule download:
    output:
        ARCHIVE if config["data"]["keep_archive"] else temp(ARCHIVE),
    log:
        f"{RESULTS}/logs/download/{{release}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download/{{release}}_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/download.yaml"
    resources:
        mem_mb=by_attempt(500),
        runtime=by_attempt(2880),
    script:
        "../scripts/download.py"


rule inventory:
    input:
        ARCHIVE,
    output:
        f"{config['data']['folder']}/{{release}}/{{split}}_inventory.tsv",
    log:
        f"{RESULTS}/logs/inventory/{{release}}_{{split}}.log",
    localrule: True
    conda:
        "../envs/download.yaml"
    resources:
        mem_mb=by_attempt(500),
        runtime=by_attempt(10),
    script:
        "../scripts/inventory.py"


rule verse_sheet:
    input:
        ARCHIVE,
    output:
        f"{config['data']['folder']}/{{release}}/{{split}}_sheet.tsv",
    log:
        f"{RESULTS}/logs/verse_sheet/{{release}}_{{split}}.log",
    localrule: True
    conda:
        "../envs/download.yaml"
    resources:
        mem_mb=by_attempt(500),
        runtime=by_attempt(10),
    script:
        "../scripts/verse_sheet.py"


for downloaded_split in DOWNLOADED_SPLITS:

    rule:
        name:
            f"extract_{downloaded_split}"
        input:
            archive=f"{VERSE}/{downloaded_split}.zip",
            inventory=f"{VERSE}/{downloaded_split}_inventory.tsv",
        output:
            scans=directory(f"{VERSE}/{downloaded_split}"),
            # Kept when the rule runs again: the files must be those of the first download.
            manifest=update(f"{VERSE}/{downloaded_split}.sha256"),
        log:
            f"{RESULTS}/logs/extract_{downloaded_split}.log",
        benchmark:
            f"{RESULTS}/benchmarks/extract_{downloaded_split}.tsv"
        conda:
            "../envs/download.yaml"
        resources:
            mem_mb=by_attempt(1000),
            runtime=by_attempt(240),
        script:
            "../scripts/extract.py"


rule verify_data:
    input:
        expand(f"{VERSE}/{{split}}.sha256", split=DOWNLOADED_SPLITS),
    log:
        f"{RESULTS}/logs/verify_data.log",
    conda:
        "../envs/download.yaml"
    resources:
        mem_mb=by_attempt(500),
        runtime=by_attempt(240),
    script:
        "../scripts/verify_data.py"
