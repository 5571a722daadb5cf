"""--use-conda: every step runs inside an environment of its own, with no other help.

Snakemake runs in an environment of its own, with stand-ins for conda and its channel
(conda/snakemake.sh).
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import ROOT, copy_workflow
from test_environments import NNUNET_PINS, normal
from verse_files import SCANS, verse_files
from verse_server import running_server, zipped

pytestmark = [
    pytest.mark.conda,
    pytest.mark.skipif(sys.platform != "linux", reason="the channel is built for Linux"),
]

CONFIG = """
torch: {torch}
data:
  urls: {{training: ["{url}"]}}
nnunet: {{python: python}}
skip_methods: {skipped}
"""
METHODS = ("mobilenet_aspp", "nnunet")
"""One of each engine: others run the same scripts."""

NEED_TORCH = ("train", "predict", "export_onnx", "export_bundle", *(f"nnunet_{step}" for step in
              ("plan", "preprocess", "train", "predict")))  # fmt: skip
"""Names of scripts."""

IMPORT = """
import ast, sys
from pathlib import Path

package, *scripts = sys.argv[1:]
sys.path.append(package)
for script in scripts:
    body = ast.parse(Path(script).read_text()).body
    imports = [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), script, "exec"))
"""
VERSIONS = (
    "import json; from importlib.metadata import distributions as d; "
    "print(json.dumps({p.name: p.version for p in d()}))"
)


class Step(NamedTuple):
    """A job that ran: its rule, its script's name, the interpreter and the environment's file."""

    rule: str
    script: str
    python: Path
    environment: str


def conda_snakemake(folder: Path, *arguments: str) -> None:
    command = [str(ROOT / "tests/workflow/conda/snakemake.sh"), "--cores", "2", *arguments]
    threads = ["--set-threads", "train=1", "predict=1"]
    environment = {**os.environ, "PYTHON": sys.executable, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*command, *threads], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which VerSe's download, the phantoms' miniature run and a prediction have run."""
    folder = copy_workflow(tmp_path_factory.mktemp("conda") / "workflow")
    rows = "".join(f"{scan}\t{scan.split('_')[0]}\ttraining\n" for scan in SCANS)
    (folder / "resources/verse20.tsv").write_text("scan\tsubject\tsplit\n" + rows)
    torch = "cpu" if version("torch").endswith("+cpu") else "cuda"
    methods = yaml.safe_load((folder / "config.yaml").read_text())["methods"]
    skipped = [key for key in methods if key not in METHODS]
    shutil.copy(
        ROOT / "tests/workflow/miniature_nnunet.yaml", folder / "config/miniature_nnunet.yaml"
    )
    archive = zipped({f"training/{name}": data for name, data in verse_files().items()})
    with running_server() as server:
        server.files["training.zip"] = archive
        url = server.url("training.zip")
        config = CONFIG.format(torch=torch, url=url, skipped=skipped)
        (folder / "config/conda.yaml").write_text(config)
        conda_snakemake(
            folder, "verify_data", "data/verse20/training_sheet.tsv",
            "--configfile", "config/conda.yaml",
        )  # fmt: skip
    conda_snakemake(
        folder, "all", "results/miniature/ro-crate-metadata.json",
        "results/miniature/screening/reference_vertebrae.csv",
        "results/miniature/models/mobilenet_aspp/fold0/weights.onnx",
        "results/miniature/models/mobilenet_aspp/fold0/vertseg_mobilenet_aspp_fold0.zip",
        "--configfile", "config/miniature.yaml", "config/miniature_nnunet.yaml",
        "config/conda.yaml",
    )  # fmt: skip
    (folder / "scans").mkdir()
    scan = min((folder / "results/miniature").rglob("*_ct.nii.gz"))
    (folder / "scans" / scan.name).symlink_to(scan)
    conda_snakemake(folder, "--configfile", "config/predict.yaml", "config/conda.yaml")
    return folder


@pytest.fixture(scope="module")
def steps(folder: Path) -> list[Step]:
    """Records of Snakemake and of the steps' logs about every job that has outputs."""
    steps = set()
    for path in (folder / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text())
            log = (folder / record["log"][0]).read_text()
            prefix = re.search(r" INFO Python [\d.]+ of (.+)", log)
            script = re.search(r"scripts/(\w+)\.py", f"{record['shellcmd']} {record['code']}")
            assert prefix and script, (path, log)
            environment = base64.b64decode(record["conda_env"]).decode()
            python = Path(prefix[1], "bin/python")
            steps.add(Step(record["rule"], script[1], python, environment))
    return sorted(steps)


def test_every_step_ran_in_the_environment_of_its_rule(steps: list[Step]) -> None:
    for step in steps:
        created_from = step.python.parents[1].with_suffix(".yaml")
        assert created_from.read_text() == step.environment, step.rule
        assert step.environment in {path.read_text() for path in (ROOT / "envs").glob("*.yaml")}


def test_every_script_ran_in_an_environment(steps: list[Step]) -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    # Rules without outputs leave no record: verify_data's log is looked at below.
    assert {step.script for step in steps} == scripts - {"verify_data", "ship_model"}
    environments = {step.environment for step in steps}
    other_build = "cuda" if version("torch").endswith("+cpu") else "cpu"
    unused = {ROOT / f"envs/torch_{other_build}.yaml"}
    used = set((ROOT / "envs").glob("*.yaml")) - unused
    assert environments == {path.read_text() for path in used}


def test_a_rule_without_outputs_ran_in_an_environment_too(folder: Path) -> None:
    log = (folder / "results/logs/verify_data.log").read_text()
    prefix = re.search(r" INFO Python [\d.]+ of (.+)", log)
    assert prefix
    environment = Path(prefix[1]).with_suffix(".yaml").read_text()
    assert environment == (ROOT / "envs/download.yaml").read_text()


def test_every_step_imports_from_its_own_environment(steps: list[Step]) -> None:
    for python in {step.python for step in steps}:
        scripts = {f"{ROOT}/scripts/{step.script}.py" for step in steps if step.python == python}
        command = [str(python), "-I", "-c", IMPORT, str(ROOT), *sorted(scripts)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{python}: {done.stderr}"


def test_environments_and_tests_run_the_same_versions(steps: list[Step]) -> None:
    ours = {normal(one.name): public(one.version) for one in distributions()}
    of_nnunet = {normal(name): number for name, number in NNUNET_PINS.items()}
    for python in {step.python for step in steps}:
        found = json.loads(subprocess.check_output([str(python), "-I", "-c", VERSIONS], text=True))
        theirs = {normal(name): public(number) for name, number in found.items()}
        for tool in ("pip", "setuptools", "wheel"):
            theirs.pop(tool, None)
        expected = of_nnunet if "nnunetv2" in theirs else ours
        assert theirs == {name: expected.get(name) for name in theirs}


def test_light_environments_stay_light(steps: list[Step]) -> None:
    for step in steps:
        packages = step.python.parents[1] / "lib/python3.11/site-packages"
        needs_torch = step.script in NEED_TORCH
        assert (packages / "torch").is_dir() == needs_torch, step.rule


def public(number: str) -> str:
    return number.partition("+")[0]
