"""What all stages share: the checked configuration, the scans, their folds, the methods."""

from dataclasses import replace

from snakemake.exceptions import WorkflowError

from vertseg.config import check, check_config, training_settings
from vertseg.errors import UserError
from vertseg.folds import assign_folds
from vertseg.samples import (
    listed_verse_samples,
    phantom_samples,
    read_samples,
    verse_samples,
    without,
)
from vertseg.schemes import read_scheme

BASE = Path(workflow.basedir)


def downloaded_samples(splits):
    """The scans that the committed sheet of VerSe's release lists for these splits."""
    release = config["data"]["release"]
    sheet = BASE / f"resources/{release}.tsv"
    return listed_verse_samples(sheet, f"{config['data']['folder']}/{release}", splits)


def load_samples():
    """The labelled scans of the configured source."""
    data = config["data"]
    if data["source"] == "phantom":
        return phantom_samples(f"{config['results']}/data", data["phantom"]["scans"])
    if data["source"] == "verse":
        if "root" in data:
            return verse_samples(data["root"])
        return downloaded_samples(data["splits"])
    samples = [
        replace(sample, labels=sample.labels or data.get("labels", ""))
        for sample in read_samples(data["sheet"])
    ]
    for sample in samples:
        check(
            vars(sample), BASE / "schemas/samples.schema.yaml", f"row of {sample.scan}"
        )
    for labels in {sample.labels for sample in samples}:
        read_scheme(labels)
    return samples


try:
    check_config(config, BASE / "schemas/config.schema.yaml")
    EXCLUDED = config["data"].get("exclude", [])
    SAMPLES = {s.scan: s for s in without(load_samples(), EXCLUDED)}
    FOLD_OF = assign_folds(SAMPLES.values(), config["folds"]["number"], config["seed"])
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config["results"]
METHODS = config["methods"]
FOLDS = config["folds"]["run"]


wildcard_constraints:
    scan="[A-Za-z0-9._-]+",
    method="|".join(METHODS),
    fold=r"\d+",


def split_files(split):
    """The CT and mask files of a split of VerSe."""
    samples = downloaded_samples([split])
    return [path for sample in samples for path in (sample.ct, sample.mask)]


def caches(fold, training):
    """Cached scans that a fold trains on, or those that it holds out."""
    return [
        f"{RESULTS}/cache/{scan}.safetensors"
        for scan in FOLD_OF
        if (FOLD_OF[scan] != int(fold)) == training
    ]


def training_caches(wildcards):
    return caches(wildcards.fold, training=True)


def validation_caches(wildcards):
    return caches(wildcards.fold, training=False)


def every_run(pattern):
    """A path of every method and fold of this run."""
    return expand(pattern, method=METHODS, fold=FOLDS)
