import copy
import dataclasses
import json
from typing import Any

import pytest
import yaml
from conftest import ROOT

from vertseg.core.errors import UserError
from vertseg.dataset.config import (
    check,
    check_config,
    grids,
    nnunet_settings,
    running_methods,
    training_settings,
)
from vertseg.networks.weights import load_network
from vertseg.training import TrainingSettings

SCHEMA = ROOT / "schemas/config.schema.yaml"
PAPER = yaml.safe_load((ROOT / "config.yaml").read_text())


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Snakemake's rule: mappings merge, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if inner else value
    return result


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path) -> None:
    check_config(PAPER, SCHEMA)
    check_config(merged(PAPER, yaml.safe_load(path.read_text())), SCHEMA)


def test_the_papers_recipe_is_the_default() -> None:
    assert PAPER["grid"] == [128, 128, 128]
    settings = training_settings(PAPER, "mobilenet_aspp")
    assert (settings["iterations"], settings["batch_size"], settings["learning_rate"]) == (
        1500,
        4,
        1e-3,
    )
    assert settings["network"] == "mobilenet_aspp" and not settings["flips"]
    assert training_settings(PAPER, "mobilenet_aspp_flips") == settings | {"flips": True}


def test_the_shipped_model_is_trained_by_our_recipe() -> None:
    _, trained = load_network(ROOT / "vertseg/models/vertseg-phantom.safetensors")
    config = merged(PAPER, yaml.safe_load((ROOT / "config/model_finish.yaml").read_text()))
    settings = TrainingSettings.from_config(training_settings(config, "spine_crops"))
    recipe = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert trained["settings"] == {key: recipe[key] for key in trained["settings"]}


def test_nnunets_methods_differ_as_stated() -> None:
    flips, plain, ours = (
        nnunet_settings(PAPER, key) for key in ("nnunet_flips", "nnunet", "mobilenet_aspp_nnunet")
    )
    assert (plain["epochs"], plain["iterations_per_epoch"], plain["flips"]) == (200, 250, False)
    assert flips == plain | {"flips": True}
    assert ours == plain | {
        "network": "mobilenet_aspp",
        "network_options": PAPER["networks"]["mobilenet_aspp"],
    }


def test_skipped_methods_do_not_run() -> None:
    assert list(running_methods(PAPER)) == list(PAPER["methods"])
    assert len(PAPER["methods"]) == 9
    demo = merged(PAPER, yaml.safe_load((ROOT / "config/demo.yaml").read_text()))
    assert list(running_methods(demo)) == list(PAPER["methods"])[:5]
    extended = merged(demo, yaml.safe_load((ROOT / "config/demo_nnunet.yaml").read_text()))
    assert list(running_methods(extended)) == list(PAPER["methods"])[:8]


def test_a_method_may_have_a_grid_of_its_own() -> None:
    own = {"grid": {"spacing_mm": 2.5}, "training": {"crop": [40, 48, 72]}}
    config = merged(PAPER, {"methods": {"unet": own}})
    check_config(config, SCHEMA)
    assert training_settings(config, "unet")["grid"] == {"spacing_mm": 2.5}
    assert training_settings(config, "mobilenet")["grid"] == [128, 128, 128]
    assert grids(config) == {"128x128x128": [128, 128, 128], "2.5mm": {"spacing_mm": 2.5}}


def test_the_order_of_keys_does_not_matter() -> None:
    reordered = PAPER | {"training": dict(reversed(PAPER["training"].items()))}
    ours, others = (training_settings(c, "unet") for c in (PAPER, reordered))
    assert list(ours) == list(others) and ours == others


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gird": [1, 2, 3]}, "unknown key 'gird'; did you mean 'grid'"),
        ({"grid": 5}, "grid: 5 should be of type array or object"),
        ({"grid": {"spacing_mm": 2}}, "training.crop is missing"),
        ({"training": {"iterations": "many"}}, "training.iterations: 'many' should be of type int"),
        ({"training": {"learning_rte": 1}}, "training: unknown key 'learning_rte'; did you mean"),
        ({"methods": {"unet": {"network": "unett"}}}, "methods.unet.network: 'unett' is not known"),
        ({"methods": {"new": {"label": "New"}}}, "methods.new: 'network' is a required property"),
        ({"methods": {"nnunet": {"training": {}}}}, "methods.nnunet.training"),
        ({"methods": {"unet": {"grid": {"spacing_mm": 2}}}}, r"training.crop is missing.*unet"),
        ({"methods": {"nnunet": {"grid": [8, 8, 8]}}}, "methods.nnunet.grid: is not for"),
        ({"methods": {"unet": {"nnunet": {"epochs": 3}}}}, "methods.unet.nnunet"),
        ({"nnunet": {"plan": {"patch": [1]}}}, "nnunet.plan: unknown key 'patch'; did you mean"),
        ({"skip_methods": ["nnunett"]}, "skip_methods: 'nnunett' is no method; did you mean"),
        ({"skip_methods": ["mobilenet_aspp"]}, "'mobilenet_aspp' is none of the methods"),
        ({"data": {"source": "phantom"}}, "data: 'phantom' is a required property"),
        ({"folds": {"run": [3]}}, "no fold 3"),
        ({"reference_method": "best"}, "'best' is none of the methods"),
    ],
)
def test_mistakes_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        check_config(merged(PAPER, changes), SCHEMA)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"(?s)grid.*seed") as caught:
        check_config(PAPER | {"seed": -1, "grid": []}, SCHEMA)
    assert len(str(caught.value).splitlines()) == 3


def test_rows_of_the_sample_sheet() -> None:
    schema = ROOT / "schemas/samples.schema.yaml"
    row = {"scan": "a", "subject": "p", "ct": "a.nii.gz", "mask": "m.nii", "centroids": ""}
    check(row, schema, "row")
    for changes in ({"scan": "a/b"}, {"ct": "a.png"}, {"centroids": "c.txt"}, {"extra": "1"}):
        with pytest.raises(UserError, match=next(iter(changes))):
            check(row | changes, schema, "row")


def test_order_is_that_of_one_spine() -> None:
    config = merged(PAPER, {"methods": {"spine_crops": {"in_order": True}}})
    check_config(config, SCHEMA)
    config["methods"]["spine_crops"]["one_spine"] = False
    with pytest.raises(UserError, match=r"methods\.spine_crops\.in_order: .* one_spine"):
        check_config(config, SCHEMA)
