"""The scans of a configured run: of cross-validation, of external tests, and without reference."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from vertseg.anatomy.labels import NUM_CLASSES
from vertseg.anatomy.schemes import read_scheme
from vertseg.core.errors import UserError
from vertseg.dataset.config import (
    Config,
    check,
    read_schema,
    training_settings,
)
from vertseg.dataset.folds import check_batch
from vertseg.dataset.samples import (
    Sample,
    check_subjects,
    listed_verse_samples,
    phantom_samples,
    read_samples,
    repeated_names,
    verse_samples,
    without,
)
from vertseg.networks.initial_weights import check_fit, stated_metadata
from vertseg.scans.find import find_scans, scan_names

LEAST_CELLS = {"unet": 16}
"""Smallest number of cells along an axis that a network works on, where the schema allows fewer."""

SPLITS = ("training", "validation", "test")


def downloaded_splits(config: Config) -> list[str]:
    """VerSe's splits that a run downloads: for cross-validation, then for external tests."""
    data = config["data"]
    if data["source"] != "verse" or "root" in data:
        return []
    return [*data["splits"], *(source for source in _external(config) if source in SPLITS)]


def own_scans(config: Config) -> dict[str, str]:
    """Path of each scan to predict without reference, by the name of its outputs.

    The run's own results are left out of the search.

    Raises:
        UserError: the folder is missing or holds no scan, or a path has braces.
    """
    if "predict" not in config:
        return {}
    paths = find_scans(config["predict"]["scans"], config["results"])
    _refuse_braces([*map(str, paths), config["predict"].get("model") or ""])
    return dict(zip(scan_names(paths), map(str, paths), strict=True))


def configured_samples(config: Config, base: Path) -> tuple[list[Sample], list[Sample]]:
    """The scans of cross-validation and those of external tests, without those left out.

    Args:
        config: a checked configuration.
        base: the workflow's folder (resources/, schemas/).

    Raises:
        UserError: a sheet or a folder is not as it should be; scans have one name; `data.exclude`
            names unknown scans; a subject of the external tests is also in the cross-validation;
            one patient has two subjects; or a path has braces.
    """
    downloads = downloaded_splits(config)
    development = _development_samples(config, base)
    external: list[Sample] = []
    for source in _external(config):
        if source in downloads:
            external += verse_scans(config, base, [source])
        elif source.endswith(".tsv"):
            external += _sheet_samples(config, base, source)
        else:
            external += verse_samples(source)
    _check_unique(development)
    _check_disjoint(development, external)
    _check_paths(config, [*development, *external])
    kept = set(without([*development, *external], config["data"]["exclude"]))
    check_subjects(sample for sample in [*development, *external] if sample in kept)
    return [s for s in development if s in kept], [s for s in external if s in kept]


def check_training(config: Config, method: str, subject_of: Mapping[str, str]) -> None:
    """Refuse what would end a method's trainings: too few scans or cells, unfit initial weights.

    Args:
        config: a checked configuration.
        method: its key; its engine is vertseg.
        subject_of: subject of each scan of the cross-validation, by scan name.

    Raises:
        UserError: a fold cannot fill a batch, a batch is one scan where the network needs two, the
            grid or the crops are too small, or the initial weights are of another network.
    """
    settings, folds = training_settings(config, method), config["folds"]
    network, options, batch = (
        settings[key] for key in ("network", "network_options", "batch_size")
    )
    check_batch(subject_of, folds["number"], folds["run"], batch, method)
    if batch < 2 and "aspp_rates" in options:
        raise UserError(
            f"training.batch_size: {method}'s network {network} needs at least 2 scans in a batch."
        )
    cells, least = settings["crop"] or settings["grid"], LEAST_CELLS.get(network, 0)
    if min(cells) < least:
        raise UserError(
            f"{'training.crop' if settings['crop'] else 'grid'}: {method}'s network {network} "
            f"needs at least {least} cells along each axis, not {min(cells)}."
        )
    weights = settings["initial_weights"]
    metadata = stated_metadata(weights) if weights else None
    if metadata is None:  # There are none yet, or the training names their fault.
        return
    check_fit(weights, metadata, network, options, NUM_CLASSES, settings["auxiliary"])


def verse_scans(config: Config, base: Path, splits: Iterable[str]) -> list[Sample]:
    """The scans that the committed sheet of VerSe's release lists for these splits.

    Raises:
        UserError: the sheet lists no scan for one of them.
    """
    data = config["data"]
    sheet = base / f"resources/{data['release']}.tsv"
    return listed_verse_samples(sheet, f"{data['folder']}/{data['release']}", splits)


def _external(config: Config) -> list[str]:
    return config["evaluation"]["external"]


def _development_samples(config: Config, base: Path) -> list[Sample]:
    data = config["data"]
    if data["source"] == "phantom":
        return phantom_samples(f"{config['results']}/data", data["phantom"]["scans"])
    if data["source"] == "sheet":
        return _sheet_samples(config, base, data["sheet"])
    if "root" in data:
        return verse_samples(data["root"])
    return verse_scans(config, base, data["splits"])


def _sheet_samples(config: Config, base: Path, sheet: str) -> list[Sample]:
    samples = [
        replace(sample, labels=sample.labels or config["data"].get("labels", ""))
        for sample in read_samples(sheet)
    ]
    schema = read_schema(base / "schemas/samples.schema.yaml")
    for sample in samples:
        check(vars(sample), schema, f"row of {sample.scan}")
        if not sample.mask.endswith((".nii", ".nii.gz")) and not Path(sample.mask).is_dir():
            raise UserError(
                f"{sheet}, row of {sample.scan}: the mask {sample.mask} is neither a NIfTI file "
                "(.nii or .nii.gz) nor a folder of TotalSegmentator's vertebrae_*.nii.gz."
            )
    for labels in {sample.labels for sample in samples}:
        read_scheme(labels)
    return samples


def _check_unique(development: list[Sample]) -> None:
    """Refuse scans of one name, as in two data sets in one folder, of which one would be lost."""
    repeated = set(repeated_names(sample.scan for sample in development))
    if repeated:
        listed = "\n  ".join(s.ct for s in development if s.scan in repeated)
        raise UserError(
            f"Scans of one name cannot be told apart:\n  {listed}\nVerSe'20 holds scans of "
            "VerSe'19, too: name one data set, or rename or leave out the others' files."
        )


def _check_disjoint(development: list[Sample], external: list[Sample]) -> None:
    for attribute in ("subject", "scan"):
        learned = {getattr(s, attribute).casefold() for s in development}
        shared = {
            getattr(s, attribute) for s in external if getattr(s, attribute).casefold() in learned
        }
        if shared:
            raise UserError(
                f"evaluation.external: each {attribute} must be either learned from or tested on; "
                f"in both are {', '.join(sorted(shared))}."
            )
    repeated = repeated_names(sample.scan for sample in external)
    if repeated:
        raise UserError(f"evaluation.external names scans twice: {', '.join(repeated)}.")


def _check_paths(config: Config, samples: list[Sample]) -> None:
    """Refuse paths with braces, which Snakemake takes for wildcards."""
    data = config["data"]
    paths = [config["results"], *(data.get(key, "") for key in ("folder", "root", "sheet"))]
    for sample in samples:
        paths += [sample.ct, sample.mask, sample.centroids, sample.labels]
    _refuse_braces(paths)


def _refuse_braces(paths: Iterable[str]) -> None:
    braces = [path for path in paths if "{" in path or "}" in path]
    if braces:
        raise UserError(
            f"{braces[0]}: Snakemake takes braces in a path for wildcards. Rename the file or "
            "folder, or name a link to it that has no braces."
        )
