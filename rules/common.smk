"""What all stages share: the checked configuration, the scans, the methods."""

from snakemake.exceptions import WorkflowError

from vertseg.core.code_version import code_version
from vertseg.core.errors import UserError
from vertseg.dataset.config import (
    complete_config,
    engine,
    grid_name,
    grids,
    method_grid,
    nnunet_settings,
    running_methods,
    training_settings,
)
from vertseg.dataset.folds import scans_by_subject
from vertseg.dataset.sources import (
    configured_samples,
    downloaded_splits,
    own_scans,
    verse_scans,
)

BASE = Path(workflow.basedir)

try:
    config = complete_config(config, BASE / "schemas/config.schema.yaml")
    development, external = configured_samples(config, BASE)
    scans_by_subject(development, config["folds"]["number"])
    OWN_SCANS = own_scans(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config["results"]
METHODS = running_methods(config)
OWN_METHODS = [method for method in METHODS if engine(config, method) == "vertseg"]
NNUNET_METHODS = [method for method in METHODS if engine(config, method) == "nnunet"]
FOLDS = config["folds"]["run"]
SAMPLES = {sample.scan: sample for sample in [*development, *external]}
DEVELOPMENT_SCANS = [sample.scan for sample in development]
EXTERNAL_SCANS = [sample.scan for sample in external]
EXCLUDED_SCANS = config["data"].get("exclude", [])


wildcard_constraints:
    scan="[A-Za-z0-9._-]+",
    method="|".join(METHODS),
    fold=r"\d+",


# Modules that read lists of scans: the lists are inputs of the steps that read them.
LISTS = ["dataset.folds", "dataset.samples"]


def code(script, without=()):
    """The fingerprint of a script and of the modules it imports, but for some of them."""
    return code_version(BASE / "scripts" / script, without)


def one_of(names):
    """A wildcard's constraint: one of some names, or nothing at all if there are none."""
    return "|".join(names) or "(?!)"


def split_files(split):
    """The CT and mask files of a split of VerSe."""
    samples = verse_scans(config, BASE, [split])
    return [path for sample in samples for path in (sample.ct, sample.mask)]


def caches(scans, grid=config["grid"]):
    """Where scans lie on a grid, that of the evaluation or a method's own."""
    return expand(
        f"{RESULTS}/cache/{{grid}}/{{scan}}.safetensors",
        grid=grid_name(grid),
        scan=scans,
    )


def method_caches(scans):
    """Where scans lie on the grid of the job's method."""
    return lambda wildcards: caches(scans, method_grid(config, wildcards.method))


def every_run(pattern, methods=METHODS):
    """A path of every method and fold of this run."""
    return expand(pattern, method=methods, fold=FOLDS)


def by_attempt(amount):
    """A resource that grows when a failed job is tried again: the amount times the attempt."""
    return lambda wildcards, attempt: amount * attempt


def in_report(path, category, title):
    """A file shown in the workflow's report, with the caption captions/{its name}.rst."""
    return report(
        path,
        caption=f"../captions/{Path(path).stem}.rst",
        category=category,
        labels={"content": title},
    )
