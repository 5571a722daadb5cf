import copy
import dataclasses
import inspect
import json
import re
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT
from jsonschema import Draft202012Validator
from recipes import PAPER, SCHEMA, STATED

from vertseg.core.errors import UserError
from vertseg.dataset.config import (
    Config,
    check,
    complete_config,
    grids,
    nnunet_settings,
    options_of,
    read_schema,
    resolved,
    running_methods,
    training_settings,
)
from vertseg.dataset.sources import LEAST_CELLS
from vertseg.networks.metadata import output_channels
from vertseg.networks.registry import NETWORKS, build_network
from vertseg.networks.weights import load_initial_weights, load_network
from vertseg.nnunet.settings import NnunetSettings, PlanSettings
from vertseg.segmentation.settings import DECODINGS, OUTLINES
from vertseg.training.settings import TrainingSettings

SMALLEST = {
    "results": "results",
    "data": {"source": "sheet", "sheet": "samples.tsv"},
    "methods": {"unet": {"label": "U-Net", "network": "unet"}},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Snakemake's rule: mappings merge, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if inner else value
    return result


def changed(changes: dict[str, Any], base: Config = STATED) -> Config:
    """The paper's configuration, or another one, with changes."""
    return complete_config(merged(base, changes), SCHEMA)


def shipped(name: str) -> Config:
    return changed(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path) -> None:
    assert list(running_methods(shipped(path.stem)))


class TestTypes:
    @pytest.mark.parametrize(
        ("section", "key", "text", "value"),
        [
            ("training", "iterations", "5", 5),
            ("training", "learning_rate", "1e-3", 0.001),
            ("training", "learning_rate", "0.01", 0.01),
            ("training", "flips", "true", True),
            ("training", "crop", ["16", "24", "32"], [16, 24, 32]),
            ("training", "crop", "[16, 24, 32]", [16, 24, 32]),
            ("training", "crop", "null", None),
            ("training", "initial_weights", "null", None),
            ("training", "initial_weights", "1.safetensors", "1.safetensors"),
            ("training", "schedule", "cosine", "cosine"),
            ("folds", "run", ["0", "1"], [0, 1]),
            ("nnunet", "plan", {"spacing_mm": ["3", "2.5", "1e0"]}, [3, 2.5, 1.0]),
            ("data", "folder", "2021", "2021"),
            ("data", "exclude", ["001", "true"], ["001", "true"]),
            ("predict", "dicom", "[seg, sr]", ["seg", "sr"]),
        ],
    )
    def test_text_is_what_the_schema_has_in_its_place(self, section, key, text, value) -> None:
        base = STATED | {"predict": {"scans": "1"}}
        config = changed({section: {key: text}}, base)
        read = config[section][key]
        assert (read["spacing_mm"] if key == "plan" else read) == value
        assert config["predict"]["scans"] == "1"

    def test_text_in_a_methods_differences_too(self) -> None:
        own = {"training": {"learning_rate": "2e-3"}, "grid": ["8", "8", "16"]}
        method = changed({"methods": {"unet": own}})["methods"]["unet"]
        assert method["training"] == {"learning_rate": 0.002} and method["grid"] == [8, 8, 16]

    @pytest.mark.parametrize("value", [5.0, "5.0", "5e0"])
    def test_whole_numbers_are_integers(self, value) -> None:
        iterations = changed({"training": {"iterations": value}})["training"]["iterations"]
        assert iterations == 5 and isinstance(iterations, int)

    @pytest.mark.parametrize("text", ["many", "nan", "inf", "[1", "2021-01-01", "", "true", "1.5"])
    def test_other_text_stays_and_is_refused(self, text: str) -> None:
        message = rf"training\.iterations: '{text}' should be of type integer".replace("[", r"\[")
        with pytest.raises(UserError, match=message):
            changed({"training": {"iterations": text}})


class TestDefaults:
    def test_all_that_the_smallest_configuration_leaves_out(self) -> None:
        config = complete_config(SMALLEST, SCHEMA)
        assert config["grid"] == [128, 128, 128] and config["seed"] == 2021
        assert config["folds"] == {"number": 3, "run": [0, 1, 2]}
        assert config["evaluation"] == {"external": []}
        assert config["nnunet"]["plan"]["gpu_memory_gb"] == 8
        assert config["networks"]["mobilenet_aspp"] == {"aspp_rates": [2, 4, 8, 16]}
        assert config["data"] == SMALLEST["data"] | {
            "folder": "data", "keep_archive": True, "exclude": []
        }  # fmt: skip
        assert config["device"] == "auto" and "predict" not in config

    def test_beside_stated_keys_at_every_level(self) -> None:
        config = changed({"nnunet": {"plan": {"batch_size": 3}}, "predict": {"scans": "ct"}})
        plan = config["nnunet"]["plan"]
        assert (plan["batch_size"], plan["base_features"], plan["patch_size"]) == (3, 32, None)
        assert config["nnunet"]["epochs"] == 200
        assert config["predict"] == {"scans": "ct", "dicom": []}

    def test_a_methods_differences_stay_as_stated(self) -> None:
        methods = PAPER["methods"]
        for key, method in STATED["methods"].items():
            for entry in ("training", "nnunet", "network_options"):
                assert methods[key].get(entry) == method.get(entry)
        assert methods["unet"]["engine"] == "vertseg" and methods["unet"]["decoding"] == "argmax"
        assert methods["spine_crops"]["decoding"] == "instances"
        assert methods["spine_crops"]["outlines"] == "ct"
        papers = [one for one in methods.values() if "paper" in one and one["engine"] == "vertseg"]
        assert papers and {one["outlines"] for one in papers} == {"network"}

    def test_differences_go_before_the_recipe_and_the_recipe_before_defaults(self) -> None:
        config = changed(
            {
                "training": {"batch_size": 3, "iterations": 7},
                "methods": {"unet": {"training": {"iterations": 9}}},
            }
        )
        settings = training_settings(config, "unet")
        assert (settings["batch_size"], settings["iterations"]) == (3, 9)
        assert settings["learning_rate"] == 0.001

    def test_the_argument_is_not_changed(self) -> None:
        stated = merged(STATED, {"training": {"iterations": "5"}})
        before = copy.deepcopy(stated)
        config = complete_config(stated, SCHEMA)
        config["methods"]["spine_crops"]["training"]["crop"].append(1)
        config["grid"].append(1)
        assert stated == before and complete_config(stated, SCHEMA)["grid"] == [128, 128, 128]

    def test_a_complete_configuration_is_complete(self) -> None:
        assert complete_config(PAPER, SCHEMA) == PAPER

    def test_the_papers_file_states_no_default_again(self) -> None:
        schema = read_schema(SCHEMA)

        def visit(value: dict[str, Any], part: dict[str, Any]) -> None:
            for key, inner in value.items():
                own = part.get("properties", {}).get(key) or part["additionalProperties"]
                own = resolved(own, schema)
                assert "default" not in own or inner != own["default"], key
                if isinstance(inner, dict):
                    visit(inner, own)

        visit(STATED, schema)


class TestSchema:
    schema = read_schema(SCHEMA)

    def test_it_is_valid_and_so_are_its_defaults(self) -> None:
        Draft202012Validator.check_schema(self.schema)

        def visit(part: Any) -> None:
            if isinstance(part, dict):
                if "default" in part:
                    inline = resolved(part, self.schema)
                    Draft202012Validator(inline).validate(part["default"])
                for inner in part.values():
                    visit(inner)

        visit(self.schema)

    @pytest.mark.parametrize(
        ("settings", "section", "others", "elsewhere"),
        [
            (
                TrainingSettings,
                ("training",),
                {"network", "network_options", "num_classes", "grid", "seed", "device"},
                set(),
            ),
            (
                NnunetSettings,
                ("nnunet",),
                {"network", "network_options", "seed", "device"},
                {"plan", "python"},
            ),
            (PlanSettings, ("nnunet", "plan"), set(), set()),
        ],
    )
    def test_settings_have_its_keys(self, settings, section, others, elsewhere) -> None:
        part = self.schema
        for key in section:
            part = part["properties"][key]
        fields = {field.name for field in dataclasses.fields(settings)}
        assert fields - others == set(part["properties"]) - elsewhere
        assert others <= fields
        assert not [field for field in dataclasses.fields(settings) if field.name not in others
                    and field.default is not dataclasses.MISSING]  # fmt: skip

    @pytest.mark.parametrize("network", NETWORKS)
    def test_options_and_sizes_of_networks_are_those_of_the_code(self, network: str) -> None:
        parameters = inspect.signature(NETWORKS[network]).parameters
        assert {"num_classes", *options_of(network, self.schema)} == set(parameters)
        options = PAPER["networks"].get(network, {})
        smallest = LEAST_CELLS.get(network, 8)
        with torch.inference_mode():
            built = build_network(network, 2, **options).eval()
            assert built(torch.zeros(1, 1, smallest, 24, 24)).shape[2:] == (smallest, 24, 24)
            if network in LEAST_CELLS:
                with pytest.raises(UserError, match="too small"):
                    built(torch.zeros(1, 1, smallest - 1, 24, 24))

    def test_decodings_are_those_of_the_code(self) -> None:
        for section in (self.schema["$defs"]["method"], self.schema["properties"]["predict"]):
            assert tuple(section["properties"]["decoding"]["enum"]) == DECODINGS
            assert tuple(section["properties"]["outlines"]["enum"]) == OUTLINES


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
    config = shipped("model_instances_finish")
    settings = TrainingSettings.from_config(training_settings(config, "spine_crops"))
    recipe = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert trained["settings"] == {key: recipe[key] for key in trained["settings"]}


def test_the_documented_way_to_go_on_from_the_shipped_model_fits_it() -> None:
    [block] = re.findall(
        r"^```\n(results: results/clinic\n.+?)^```$",
        (ROOT / "docs/own_data.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    config = changed(yaml.safe_load(block))
    for method in running_methods(config):
        settings = TrainingSettings.from_config(training_settings(config, method))
        assert settings.learning_rate == 0.0005 and settings.iterations == 300
        outputs = output_channels(settings.num_classes, settings.auxiliary)
        network = build_network(settings.network, outputs, **settings.network_options)
        weights = ROOT / settings.initial_weights
        load_initial_weights(
            network, weights, settings.network, settings.network_options, settings.num_classes,
            settings.auxiliary,
        )  # fmt: skip
        trained = load_network(weights)[1]["settings"]
        assert (settings.grid, settings.crop) == (trained["grid"], trained["crop"])


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


def test_folders_may_end_with_a_slash() -> None:
    config = changed({"results": "results/mine/", "data": {"folder": "/data//verse/"}})
    assert (config["results"], config["data"]["folder"]) == ("results/mine", "/data/verse")


def test_skipped_methods_do_not_run() -> None:
    assert list(running_methods(PAPER)) == list(PAPER["methods"])
    assert len(PAPER["methods"]) == 9
    paper, ours = list(PAPER["methods"])[:5], "spine_crops"
    assert list(running_methods(shipped("demo"))) == [*paper, ours]
    demo, added = (
        yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
        for name in ("demo", "demo_nnunet")
    )
    assert list(running_methods(changed(merged(demo, added)))) == list(PAPER["methods"])


def test_methods_to_run_are_chosen_before_others_are_skipped() -> None:
    config = changed({"methods_to_run": ["nnunet", "mobilenet_aspp", "unet"]})
    assert list(running_methods(config)) == ["unet", "mobilenet_aspp", "nnunet"]
    config = changed({"methods_to_run": ["nnunet", "unet"], "skip_methods": ["nnunet"]})
    assert list(running_methods(config)) == ["unet"]


def test_the_reference_is_a_method_that_runs() -> None:
    assert PAPER["reference_method"] == "mobilenet_aspp"
    assert changed({"methods_to_run": ["unet"]})["reference_method"] == "unet"
    chosen = {"methods_to_run": ["unet", "mobilenet"], "reference_method": "mobilenet"}
    assert changed(chosen)["reference_method"] == "mobilenet"


def test_a_method_may_have_a_grid_of_its_own() -> None:
    own = {"grid": {"spacing_mm": 2.5}, "training": {"crop": [40, 48, 72]}}
    config = changed({"methods": {"unet": own}})
    assert training_settings(config, "unet")["grid"] == {"spacing_mm": 2.5}
    assert training_settings(config, "mobilenet")["grid"] == [128, 128, 128]
    assert grids(config) == {"128x128x128": [128, 128, 128], "2.5mm": {"spacing_mm": 2.5}}


def test_the_order_of_keys_does_not_matter() -> None:
    """To Snakemake another order would be another parameter of the step."""
    reordered = json.loads(json.dumps(PAPER)) | {
        key: dict(reversed(PAPER[key].items())) for key in ("training", "nnunet")
    }
    reordered["nnunet"]["plan"] = dict(reversed(PAPER["nnunet"]["plan"].items()))
    completed = complete_config(reordered, SCHEMA)
    for key in ("training", "nnunet"):
        assert json.dumps(completed[key]) == json.dumps(PAPER[key])


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
        ({"skip_methods": ["nnunett"]}, "skip_methods: unknown method 'nnunett'; did you mean"),
        ({"methods_to_run": ["unett"]}, "methods_to_run: unknown method 'unett'; did you mean"),
        ({"methods_to_run": ["unet"], "skip_methods": ["unet"]}, "no method is left to run"),
        (
            {"methods_to_run": ["unet"], "reference_method": "mobilenet"},
            "'mobilenet' is not among the methods that run. Known: unet",
        ),
        ({"training": {"device": "cpu"}}, "training: unknown key 'device'"),
        ({"device": "gpu"}, "device: 'gpu' is not as it should be: .*auto, cpu, cuda"),
        ({"networks": {"unet": {"aspp_rates": [1, 1, 1, 1]}}}, "networks.unet: unknown key"),
        (
            {"methods": {"unet": {"network_options": {"aspp_rates": [1, 1, 1, 1]}}}},
            "methods.unet.network_options: unet has no option 'aspp_rates'. Known: checkpointing",
        ),
        (
            {"methods": {"mobilenet": {"network_options": {"aspp_rates": [1, 1, 1, 1]}}}},
            "mobilenet has no option 'aspp_rates'. Known: checkpointing",
        ),
        (
            {"methods": {"unet": {"network_options": {"checkpoint": True}}}},
            "methods.unet.network_options: unknown key 'checkpoint'; did you mean 'checkpointing'",
        ),
        (
            {"methods": {"unet": {"network_options": {"checkpointing": "maybe"}}}},
            "network_options.checkpointing: 'maybe' should be of type boolean",
        ),
        (
            {"methods": {"nnunet": {"network_options": {"checkpointing": True}}}},
            "methods.nnunet.network_options: the method names no network",
        ),
        ({"data": {"source": "phantom", "phantom": {"scans": 3}}}, "'preset' is a required"),
        ({"data": {"urls": {"train": []}}}, "data.urls: unknown key 'train'; did you mean"),
        ({"data": {"source": "phantom"}}, "data: 'phantom' is a required property"),
        ({"folds": {"run": [3]}}, "no fold 3"),
        ({"methods": {2021: {"label": "X", "network": "unet"}}}, "methods: the key 2021 is no"),
        ({True: "x"}, "top level: the key True is no text"),
        ({"methods": {"reference": {"label": "X", "network": "unet"}}}, "methods.reference"),
        (
            {"reference_method": "best"},
            "reference_method: 'best' is not among the methods that run",
        ),
    ],
)
def test_mistakes_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        changed(changes)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"(?s)grid.*seed") as caught:
        changed({"seed": -1, "grid": []})
    assert len(str(caught.value).splitlines()) == 3


def test_rows_of_the_sample_sheet() -> None:
    schema = read_schema(ROOT / "schemas/samples.schema.yaml")
    row = {"scan": "a", "subject": "p", "ct": "a.nii.gz", "mask": "m.nii", "centroids": ""}
    check(row, schema, "row")
    for changes in ({"scan": "a/b"}, {"ct": "a.png"}, {"centroids": "c.txt"}, {"extra": "1"}):
        with pytest.raises(UserError, match=next(iter(changes))):
            check(row | changes, schema, "row")
