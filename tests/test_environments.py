"""Conda environments and the pip installation run the same versions."""

import re

import pytest
import yaml
from conftest import ROOT

PINS, NNUNET_PINS = (
    set(re.findall(r"^[\w\[\]-]+==[\w.]+$", (ROOT / name).read_text(), re.M))
    for name in ("requirements.txt", "requirements-nnunet.txt")
)


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environments_repeat_the_projects_pins(path) -> None:
    *conda, pip = yaml.safe_load(path.read_text())["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert set(pip["pip"]) == NNUNET_PINS if path.stem == "nnunet" else set(pip["pip"]) <= PINS
    torch = any(pin.startswith("torch==") for pin in pip["pip"])
    assert torch == (path.stem in ("torch", "nnunet"))


def test_every_rule_names_an_existing_environment() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = set(re.findall(r"\.\./envs/(\w+\.yaml)", rules))
    assert named == {path.name for path in (ROOT / "envs").glob("*.yaml")}


def test_nnunets_environment_has_the_projects_versions() -> None:
    """So that nnU-Net neither replaces torch nor reads our files with other libraries."""
    versions, own = (dict(pin.split("==") for pin in pins) for pins in (NNUNET_PINS, PINS))
    shared = versions.keys() & own.keys()
    assert "torch" in shared
    assert {name: versions[name] for name in shared} == {name: own[name] for name in shared}
