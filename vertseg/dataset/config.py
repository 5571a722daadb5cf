"""The run's configuration: checked against its schema, and what it says of each method."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from vertseg.core.errors import UserError

if TYPE_CHECKING:
    # Snakemake itself may have no numpy.
    from vertseg.segmentation.grid import GridSpec

Config = dict[str, Any]


def check(value: Any, schema_path: str | Path, name: str) -> None:
    """Check a value against a JSON schema (written as YAML).

    Raises:
        UserError: one line for every problem: where it is, what is wrong, what would be right.
    """
    schema = yaml.safe_load(Path(schema_path).read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: e.json_path)
    if errors:
        problems = "\n  ".join(_explain(best_match([error]) or error) for error in errors)
        raise UserError(f"The {name} is not valid:\n  {problems}")


def check_config(config: Config, schema_path: str | Path) -> None:
    """Check a configuration: its schema, and that its parts fit together.

    Raises:
        UserError: all problems of the schema, or the first contradiction.
    """
    check(config, schema_path, "configuration")
    folds = config["folds"]
    beyond = [fold for fold in folds["run"] if fold >= folds["number"]]
    if beyond:
        raise UserError(
            f"folds.run: there is no fold {beyond[0]}; with folds.number {folds['number']} the "
            f"folds are 0 to {folds['number'] - 1}."
        )
    whole = [
        key
        for key in running_methods(config)
        if engine(config, key) == "vertseg"
        and isinstance(method_grid(config, key), dict)
        and not training_settings(config, key).get("crop")
    ]
    if whole:
        raise UserError(
            "training.crop is missing: on a grid of a fixed spacing scans differ in size, so that "
            f"batches are made of crops ({', '.join(whole)})."
        )
    for key, method in config["methods"].items():
        own, foreign = "training", ["nnunet"]
        if engine(config, key) == "nnunet":
            own, foreign = "nnunet", ["training", "grid", "decoding"]
        for entry in foreign:
            if entry in method:
                raise UserError(
                    f"methods.{key}.{entry}: is not for the method's engine, "
                    f"{engine(config, key)}; its differences are stated as {own}."
                )
    for method in config.get("skip_methods", []):
        if method not in config["methods"]:
            known = list(config["methods"])
            raise UserError(f"skip_methods: {method!r} is no method{_suggestion(method, known)}")
    running = running_methods(config)
    if config["reference_method"] not in running:
        raise UserError(
            f"reference_method: {config['reference_method']!r} is none of the methods "
            f"({', '.join(running)})."
        )


def running_methods(config: Config) -> dict[str, Config]:
    """The methods that are not skipped, by key, in order."""
    skipped = config.get("skip_methods", [])
    return {key: method for key, method in config["methods"].items() if key not in skipped}


def engine(config: Config, method: str) -> str:
    """What trains a method: vertseg, or nnunet."""
    return config["methods"][method].get("engine", "vertseg")


def method_grid(config: Config, method: str) -> "GridSpec":
    """The grid that a method's network works on: its own, or that of all."""
    return config["methods"][method].get("grid", config["grid"])


def grids(config: Config) -> dict[str, "GridSpec"]:
    """The grids of a run by name: the one that all methods are evaluated on, and methods' own."""
    used = [config["grid"], *(method_grid(config, method) for method in running_methods(config))]
    return {grid_name(spec): spec for spec in used}


def grid_name(spec: "GridSpec") -> str:
    """A grid as a folder's name: 128x128x128, or 2.5mm."""
    if isinstance(spec, Mapping):
        return f"{spec['spacing_mm']:g}mm"
    return "x".join(map(str, spec))


def training_settings(config: Config, method: str) -> Config:
    """Everything a method's training is told: the defaults, then the method's differences."""
    settings = {
        **_network(config, method),
        "grid": method_grid(config, method),
        "seed": config["seed"],
        **config["training"],
        **config["methods"][method].get("training", {}),
    }
    # To Snakemake another order would be another recipe.
    return dict(sorted(settings.items()))


def nnunet_settings(config: Config, method: str) -> Config:
    """Everything that nnU-Net is told of a method's training; its plan is all methods' alike."""
    shared = {k: v for k, v in config["nnunet"].items() if k not in ("plan", "python")}
    return {
        **_network(config, method),
        "seed": config["seed"],
        "device": config["training"]["device"],
        **shared,
        **config["methods"][method].get("nnunet", {}),
    }


def _network(config: Config, method: str) -> Config:
    entry = config["methods"][method]
    network = entry.get("network")
    if not network:
        return {}
    return {
        "network": network,
        "network_options": {
            **config.get("networks", {}).get(network, {}),
            **entry.get("network_options", {}),
        },
    }


def _explain(error: ValidationError) -> str:
    schema: Any = error.schema
    value: Any = error.instance
    where = error.json_path.removeprefix("$").removeprefix(".") or "top level"
    if error.validator == "additionalProperties":
        known = sorted(schema["properties"])
        unknown = sorted(set(value) - set(known))
        return "; ".join(
            f"{where}: unknown key {key!r}{_suggestion(key, known)}" for key in unknown
        )
    if error.validator == "enum":
        allowed = [str(choice) for choice in schema["enum"]]
        return f"{where}: {value!r} is not known{_suggestion(str(value), allowed)}"
    if error.validator == "type":
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return f"{where}: {value!r} should be of type {' or '.join(kinds)}."
    return f"{where}: {error.message}."


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Known: {', '.join(known)}."
