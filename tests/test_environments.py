"""Conda environments and the pip installation run the same versions."""

import re

import pytest
import yaml
from conftest import ROOT

PINS = set(re.findall(r"^[\w\[\]-]+==[\w.]+$", (ROOT / "requirements.txt").read_text(), re.M))


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environments_repeat_the_projects_pins(path) -> None:
    *conda, pip = yaml.safe_load(path.read_text())["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert set(pip["pip"]) <= PINS
    assert any("torch==" in pin for pin in pip["pip"]) == (path.stem == "torch")


def test_every_rule_names_an_existing_environment() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = set(re.findall(r"\.\./envs/(\w+\.yaml)", rules))
    assert named == {path.name for path in (ROOT / "envs").glob("*.yaml")}
