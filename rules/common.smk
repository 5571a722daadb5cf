"""Names that all stages share: of the checked configuration, the scans, the methods."""

from snakemake.exceptions import WorkflowError

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
    check_training,
    configured_samples,
    downloaded_splits,
    own_scans,
)

try:
    config = complete_config(config, BASE / "schemas/config.schema.yaml")
    development, external = configured_samples(config, BASE)
    subject_of = {sample.scan: sample.subject for sample in development}
    scans_by_subject(subject_of, config["folds"]["number"])
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

PHANTOMS = f"{RESULTS}/data"
VERSE = f"{config['data']['folder']}/{config['data']['release']}"
DOWNLOADED_SPLITS = downloaded_splits(config)
SPLIT_FOLDERS = [f"{VERSE}/{split}" for split in DOWNLOADED_SPLITS]

modified = workflow.modifier.path_modifier.replace_prefix
if any(modified(path) != path for path in (RESULTS, f"{RESULTS}/", "samples.tsv")):
    raise WorkflowError(
        "The module statement's prefix does not reach the files that sample sheets name. Leave it "
        "out and set results (and data.folder) in the module's config."
    )


wildcard_constraints:
    scan="[A-Za-z0-9._-]+",
    method="|".join(METHODS),
    fold=r"\d+",
