"""Conda environments and the pip installation run the same versions."""

import re
from importlib.metadata import requires

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

ENVIRONMENTS = sorted(path for path in (ROOT / "envs").glob("*.yaml") if path.stem != "nnunet")
"""All but nnU-Net's, which has a list of its own."""
EXACT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?={2,3}([\w.]+)(?:\+cpu)?")
PINS, NNUNET_PINS = (
    dict(
        EXACT.fullmatch(line).groups()
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    )
    for name in ("requirements.txt", "requirements-nnunet.txt")
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path) -> dict[str, str]:
    *conda, pip = yaml.safe_load(path.read_text())["dependencies"]
    assert conda == ["python=3.11", "pip"]
    return dict(EXACT.fullmatch(pin).groups() for pin in pip["pip"])


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environments_repeat_the_projects_pins(path) -> None:
    own = pins(path)
    assert own.items() <= PINS.items()
    assert ("torch" in own) == path.stem.startswith("torch_")


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environments_pin_all_that_their_packages_need(path) -> None:
    own = {normal(name) for name in pins(path)}
    for name in own:
        for text in requires(name) or []:
            needed = Requirement(text)
            applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
            # torch itself pins the CUDA libraries that its build needs.
            if applies and not re.match(r"(nvidia|cuda)-|triton$", needed.name):
                assert normal(needed.name) in own, f"{name} needs it: run python envs/pin.py"


@pytest.mark.parametrize("name", ["", "-dev", "-docs", "-nnunet"])
def test_locks_repeat_the_pins_with_hashes(name: str) -> None:
    def pins_of(path) -> dict[str, str]:
        found = {}
        for line in path.read_text().splitlines():
            if line.startswith("-r "):
                found |= pins_of(path.with_name(line.removeprefix("-r ")))
            elif pin := EXACT.match(line):
                found[normal(pin[1])] = pin[2]
        return found

    lock = ROOT / f"requirements{name}.lock"
    assert pins_of(lock) == pins_of(ROOT / f"requirements{name}.txt")
    entries = re.split(r"^(?=\w)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}$", entry, re.M) for entry in entries)


def test_the_builds_of_torch_have_the_same_version() -> None:
    texts = [(ROOT / f"envs/torch_{build}.yaml").read_text() for build in ("cpu", "cuda")]
    cpu, cuda = [re.search(r"torch(={2,3})([\d.]+)(\+cpu)?\n", text).groups() for text in texts]
    assert cpu == ("==", PINS["torch"], "+cpu")
    assert cuda == ("===", PINS["torch"], None)


def test_every_rule_names_an_existing_environment() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = set()
    for name in re.findall(r"\.\./envs/([^\"]+\.yaml)", rules):
        builds = ("cpu", "cuda") if "{" in name else ("",)
        named |= {re.sub(r"\{.*\}", build, name) for build in builds}
    assert named == {path.name for path in (ROOT / "envs").glob("*.yaml")}


def test_nnunets_environment_has_the_projects_versions() -> None:
    """So that nnU-Net neither replaces torch nor reads our files with other libraries."""
    assert pins(ROOT / "envs/nnunet.yaml") == NNUNET_PINS
    shared = NNUNET_PINS.keys() & PINS.keys()
    assert "torch" in shared
    assert {name: NNUNET_PINS[name] for name in shared} == {name: PINS[name] for name in shared}
