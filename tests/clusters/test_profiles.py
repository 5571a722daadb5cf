"""Requests to clusters: profiles, rules and docs/cluster.md say the same."""

import math
import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, copy_workflow, snakemake
from snakemake.profiles import ProfileConfigFileParser

pytestmark = pytest.mark.workflow

GROUPS = {"preprocess": "preprocess", "nnunet_scan": "nnunet_scans"}
"""Rules of the paper's experiment whose jobs are submitted together, and their groups."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dry run of the paper's experiment on SLURM."""
    folder = copy_workflow(tmp_path_factory.mktemp("profiles") / "workflow")
    return snakemake(folder, "--profile", "profiles/slurm", "--cores", "8", "-n")


def requests(plan: str, rule: str) -> list[dict[str, int]]:
    """CPUs and resources of each of a rule's jobs."""
    found = []
    for job in re.split(r"\n(?=\s*(?:local)?rule )", plan):
        if re.match(rf"\s*rule {rule}:", job):
            [resources] = re.findall(r"^\s*resources: (.*)$", job, re.M)
            threads = re.findall(r"^\s*threads: (\d+)$", job, re.M) or [1]
            values = dict(pair.split("=") for pair in resources.split(", "))
            found.append(
                {"cpus": int(threads[0]), "gpus": int(values.get("gpu", 0))}
                | {name: int(values[name]) for name in ("mem_mb", "runtime")}
            )
    return found


def profile(name: str) -> dict[str, list[str]]:
    with (ROOT / f"profiles/{name}/config.yaml").open() as stream:
        return ProfileConfigFileParser().parse(stream)


def documented() -> dict[str, list[str]]:
    text = (ROOT / "docs/cluster.md").read_text()
    rows = re.findall(r"^\| `(\w+)`[^|]*\|(.+)\|$", text, re.M)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_documented_jobs_are_those_that_start(plan: str) -> None:
    table = documented()
    counts = dict(re.findall(r"^(\w+) +(\d+)$", plan, re.M))
    on_login_node = {"download", "inventory", "all", "total"}
    assert set(table) == set(counts) - on_login_node
    for rule, cells in table.items():
        if rule in GROUPS:
            continue
        jobs = requests(plan, rule)
        assert len(jobs) == int(counts[rule])
        [job] = {tuple(job.items()) for job in jobs}
        values = dict(job)
        hours, minutes = divmod(values["runtime"], 60)
        expected = [len(jobs), values["cpus"], values["mem_mb"] // 1000, f"{hours}:{minutes:02}"]
        assert cells == [*map(str, expected), str(values["gpus"] or "")], rule


@pytest.mark.parametrize(("rule", "group"), GROUPS.items())
def test_the_documented_groups_are_those_that_start(plan: str, rule: str, group: str) -> None:
    cells = documented()[rule]
    size = int(dict(item.split("=") for item in profile("slurm")["group-components"])[group])
    cpus = int(profile("slurm")["cores"])
    scans = requests(plan, rule)
    started = plan.count(f"Group job {group} ")
    assert started == math.ceil(len(scans) / size) == int(cells[0])
    # As many scans side by side as there are CPUs.
    [one] = {tuple(scan.items()) for scan in scans}
    minutes = math.ceil(size / cpus) * dict(one)["runtime"]
    memory = cpus * dict(one)["mem_mb"] // 1000
    assert cells[1:4] == [str(cpus), str(memory), f"{minutes // 60}:{minutes % 60:02}"]


@pytest.mark.parametrize("name", ["slurm", "lsf"])
def test_gpu_partitions_are_for_the_rules_that_ask_for_gpus(name: str) -> None:
    text = (ROOT / f"profiles/{name}/config.yaml").read_text()
    named = set(re.search(r"^  gpu_rules: \[(.+)\]$", text, re.M)[1].split(", "))
    asking = set()
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^(?=rule |use rule )", path.read_text(), flags=re.M):
            if "gpu=" in rule or re.match(r"use rule (nnunet_)?predict ", rule):
                asking.add(re.match(r"(?:use rule \w+ as|rule) (\w+)", rule)[1])
    assert named == asking


def test_a_workstations_block_reaches_snakemake() -> None:
    options = profile("workstation")
    assert options["cores"] == "16"
    assert options["resources"] == ["gpu=2", "mem_mb=60000"]


def test_every_profile_is_described() -> None:
    text = (ROOT / "profiles/README.md").read_text()
    described = set(re.findall(r"^\| \[`(\w+)`\]\(\1/config.yaml\)", text, re.M))
    assert described == {path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml")}


def test_the_site_block_reaches_the_jobs(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    path = folder / "profiles/slurm/config.yaml"
    text = path.read_text()
    for name, value in {
        "account": "spine",
        "scratch": "/scratch/me",
        "cpu_partition": "batch",
        "gpu_partition": "accelerated",
        "gpu_type": "a100",
        "overrides": "{train: {runtime: 600 * attempt}, evaluate: {mem_mb: 3000}}",
    }.items():
        text, count = re.subn(
            rf'^  {name}: (""|{{}}|system_tmpdir)$', f"  {name}: {value}", text, flags=re.M
        )
        assert count == 1
    path.write_text(text)
    arguments = ["--profile", "profiles/slurm", "--configfile", "config/miniature.yaml", "-n"]
    output = snakemake(folder, *arguments)
    resources = {
        rule: re.search(rf"rule {rule}:.*?resources: ([^\n]*)", output, re.S)[1]
        for rule in ("audit", "train", "predict", "preprocess_phantoms", "evaluate")
    }
    assert "runtime=600" in resources["train"]
    assert "mem_mb=3000," in resources["evaluate"]
    for rule, text in resources.items():
        on_gpu = rule in ("train", "predict")
        assert "slurm_account=spine" in text
        assert "tmpdir=/scratch/me," in text
        assert f"slurm_partition={'accelerated' if on_gpu else 'batch'}" in text
        assert ("gpu_model=a100" in text) == on_gpu


@pytest.mark.parametrize("name", ["slurm", "sge", "lsf"])
def test_clusters_try_again(name: str) -> None:
    settings = profile(name)
    assert int(settings["retries"]) == 2
    assert settings["keep-going"] == "True"
    assert int(settings["latency-wait"]) >= 30


def test_grid_engines_commands_are_found_beside_their_profile() -> None:
    settings = profile("sge")
    for command in ("submit", "status"):
        script = ROOT / f"profiles/sge/{command}.sh"
        assert settings[f"cluster-generic-{command}-cmd"] == str(script)
        assert os.access(script, os.X_OK)


def test_every_submitted_rule_asks_for_more_at_each_attempt() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^(?= *(?:use )?rule\b)", path.read_text(), flags=re.M):
            if "resources:" in rule and "localrule: True" not in rule:
                for resource in ("mem_mb", "runtime"):
                    assert re.search(rf"{resource}=by_attempt\(\d+\)", rule), rule


def test_executors_are_pinned_with_snakemake() -> None:
    pins = (ROOT / "requirements-cluster.txt").read_text()
    assert "-r requirements.txt" in pins
    snakemake_pin = re.search(
        r"snakemake\[reports\](==\S+)", (ROOT / "requirements.txt").read_text()
    )
    slurm_pin = re.search(r"snakemake-executor-plugin-slurm==\S+", pins)
    command = f"snakemake{snakemake_pin[1]} {slurm_pin[0]}"
    assert command in (ROOT / "docs/cluster.md").read_text()
    for name in ("slurm", "sge", "lsf"):
        executor = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())["executor"]
        assert f"snakemake-executor-plugin-{executor}==" in pins
