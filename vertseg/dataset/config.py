"""The run's configuration: completed from its schema and checked, and the settings of methods."""

import copy
import difflib
import math
import os
from collections.abc import Mapping
from contextlib import suppress
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
Schema = dict[str, Any]


def complete_config(stated: Config, schema_path: str | Path) -> Config:
    """The configuration of a run: as stated, with the schema's defaults for all that is not.

    Text becomes the value that the schema has in its place: Snakemake's `--config` leaves nested
    values as text, and YAML 1.1 reads 1e-3 as such. Differences of a method stay as stated.

    Args:
        stated: the files' and the command line's values, merged; not changed.
        schema_path: JSON schema of configurations, written as YAML.

    Raises:
        UserError: all that contradicts the schema, or the first contradiction between parts.
    """
    schema = read_schema(schema_path)
    _check_keys(stated, "")
    typed = _typed(stated, schema, schema)
    check(typed, schema, "configuration")
    _check_engines(typed)
    config = _with_defaults(typed, schema, schema)
    for section, key in ((config, "results"), (config["data"], "folder")):
        # Rules join names to these, and Snakemake tells `a//b` from `a/b`.
        section[key] = os.path.normpath(section[key])
    for method in config["methods"].values():
        if method["engine"] == "nnunet":
            # nnU-Net decodes by itself.
            del method["decoding"], method["outlines"]
    config.setdefault("methods_to_run", list(config["methods"]))
    _check_method_names(config)
    running = list(running_methods(config))
    if "reference_method" not in stated and config["reference_method"] not in running:
        config["reference_method"] = running[0]
    _check_reference(config)
    _check_folds(config)
    _check_crops(config)
    _check_options(config, schema)
    return config


def check(value: Any, schema: Schema, name: str) -> None:
    """Check a value against a JSON schema.

    Raises:
        UserError: one line for every problem: where it is, what is wrong, what would be right.
    """
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: e.json_path)
    if errors:
        problems = "\n  ".join(_explain(best_match([error]) or error) for error in errors)
        raise UserError(f"The {name} is not valid:\n  {problems}")


def read_schema(path: str | Path) -> Schema:
    """A JSON schema that is written as YAML."""
    return yaml.safe_load(Path(path).read_text())


def resolved(schema: Schema, root: Schema) -> Schema:
    """A part of a schema in place of its reference to another part; its own entries go first."""
    while "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def kinds(schema: Schema) -> list[str]:
    """JSON types that a schema allows; empty where it names none."""
    stated = schema.get("type", [])
    return [stated] if isinstance(stated, str) else stated


def running_methods(config: Config) -> dict[str, Config]:
    """The methods that run, by key, in the order of `methods`."""
    return {
        key: method
        for key, method in config["methods"].items()
        if key in config["methods_to_run"] and key not in config["skip_methods"]
    }


def engine(config: Config, method: str) -> str:
    """The program that trains a method: vertseg or nnunet."""
    return config["methods"][method]["engine"]


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
    """Settings of a method's training (`TrainingSettings`): the recipe, then its differences."""
    return {
        **_network(config, method),
        "grid": method_grid(config, method),
        "seed": config["seed"],
        "device": config["device"],
        **config["training"],
        **config["methods"][method].get("training", {}),
    }


def nnunet_settings(config: Config, method: str) -> Config:
    """Settings of a method's training by nnU-Net (`NnunetSettings`); all methods share the plan."""
    shared = {k: v for k, v in config["nnunet"].items() if k not in ("plan", "python")}
    return {
        **_network(config, method),
        "seed": config["seed"],
        "device": config["device"],
        **shared,
        **config["methods"][method].get("nnunet", {}),
    }


def _network(config: Config, method: str) -> Config:
    entry = config["methods"][method]
    network = entry.get("network", "")
    return {
        "network": network,
        "network_options": {
            **config["networks"].get(network, {}),
            **entry.get("network_options", {}),
        },
    }


def _check_keys(value: Any, where: str) -> None:
    """Check that all keys are texts: YAML reads 2021 as a number, and `on` as true."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if not isinstance(key, str):
            raise UserError(
                f"{where or 'top level'}: the key {key!r} is no text. Put it in quotes, or name it "
                "otherwise."
            )
        _check_keys(inner, f"{where}.{key}" if where else key)


def _typed(value: Any, schema: Schema, root: Schema) -> Any:
    """A value whose texts are read as what the schema has in their place, where they can be."""
    schema = resolved(schema, root)
    allowed = kinds(schema)
    if isinstance(value, str):
        value = _read_text(value, [kind for kind in allowed if kind != "string"])
    if isinstance(value, dict):
        return {key: _typed(inner, _schema_of(key, schema), root) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, schema.get("items", {}), root) for inner in value]
    if isinstance(value, float) and value.is_integer() and "integer" in allowed:
        return int(value)
    return value


def _read_text(text: str, allowed: list[str]) -> Any:
    """A text as a value of one of these types of JSON, or the text itself."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return text
    validator = Draft202012Validator({})
    return value if any(validator.is_type(value, kind) for kind in allowed) else text


def _with_defaults(value: Any, schema: Schema, root: Schema) -> Any:
    """A valid value with defaults of absent keys, at every level but in stated differences.

    Keys come in the schema's order: to Snakemake another order would be another parameter.
    """
    schema = resolved(schema, root)
    if not isinstance(value, dict) or schema.get("differences"):
        return copy.deepcopy(value)
    complete = {}
    for key, inner in schema.get("properties", {}).items():
        if key in value:
            complete[key] = _with_defaults(value[key], inner, root)
            continue
        absent = resolved(inner, root)
        if "default" in absent:
            complete[key] = copy.deepcopy(absent["default"])
        elif not absent.get("required") and (filled := _with_defaults({}, absent, root)):
            complete[key] = filled
    others = {key: inner for key, inner in value.items() if key not in complete}
    return complete | {
        key: _with_defaults(inner, _schema_of(key, schema), root) for key, inner in others.items()
    }


def _schema_of(key: str, schema: Schema) -> Schema:
    others = schema.get("additionalProperties")
    return schema.get("properties", {}).get(key, others if isinstance(others, dict) else {})


def _check_engines(stated: Config) -> None:
    """Check that methods state nothing of an engine that is not theirs."""
    for key, method in stated["methods"].items():
        by_nnunet = method.get("engine") == "nnunet"
        own, foreign = "training", ["nnunet"]
        if by_nnunet:
            own, foreign = "nnunet", ["training", "grid", "decoding", "outlines"]
        for entry in foreign:
            if entry in method:
                raise UserError(
                    f"methods.{key}.{entry}: is not for the method's engine, "
                    f"{'nnunet' if by_nnunet else 'vertseg'}; its differences are stated as {own}."
                )


def _check_method_names(config: Config) -> None:
    """Check that keys which name methods name known ones, and that a method is left."""
    known = list(config["methods"])
    if "reference" in known:
        raise UserError(
            "methods.reference: this name stands for the reference masks. Choose another key."
        )
    for key in ("methods_to_run", "skip_methods"):
        for method in config[key]:
            if method not in known:
                raise UserError(f"{key}: unknown method {method!r}{_suggestion(method, known)}")
    if not running_methods(config):
        raise UserError("skip_methods: no method is left to run. Leave out fewer.")


def _check_reference(config: Config) -> None:
    reference, running = config["reference_method"], list(running_methods(config))
    if reference not in running:
        raise UserError(
            f"reference_method: {reference!r} is not among the methods that run"
            f"{_suggestion(reference, running)}"
        )


def _check_folds(config: Config) -> None:
    number = config["folds"]["number"]
    beyond = [fold for fold in config["folds"]["run"] if fold >= number]
    if beyond:
        raise UserError(
            f"folds.run: there is no fold {beyond[0]}; with folds.number {number} the "
            f"folds are 0 to {number - 1}."
        )


def _check_crops(config: Config) -> None:
    """Check that methods whose scans differ in size learn from crops."""
    whole = [
        key
        for key in running_methods(config)
        if engine(config, key) == "vertseg"
        and isinstance(method_grid(config, key), dict)
        and not training_settings(config, key)["crop"]
    ]
    if whole:
        raise UserError(
            "training.crop is missing: on a grid of a fixed spacing scans differ in size, so that "
            f"batches are made of crops ({', '.join(whole)})."
        )


def _check_options(config: Config, schema: Schema) -> None:
    """Check that methods state options of their networks alone."""
    for key, method in config["methods"].items():
        network = method.get("network", "")
        if not network and method.get("network_options"):
            raise UserError(
                f"methods.{key}.network_options: the method names no network, and nnU-Net plans "
                "its own. Leave them out, or name a network."
            )
        known = list(options_of(network, schema))
        for option in method.get("network_options", {}):
            if option not in known:
                raise UserError(
                    f"methods.{key}.network_options: {network} has no option {option!r}"
                    f"{_suggestion(option, known)}"
                )


def options_of(network: str, schema: Schema) -> Schema:
    """A network's options, each with its part of the schema; none of a network without a name."""
    part = schema["properties"]["networks"]["properties"].get(network, {})
    return resolved(part, schema).get("properties", {})


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
    if error.validator == "pattern" and "description" in schema:
        return f"{where}: {value!r} is not as it should be: {schema['description']}"
    if error.validator == "type":
        return f"{where}: {value!r} should be of type {' or '.join(kinds(schema))}."
    return f"{where}: {error.message}."


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Known: {', '.join(known)}."
