"""Images for clusters, as far as they can be judged without a container engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, WORKFLOW_PARTS, copy_workflow, snakemake

pytestmark = pytest.mark.workflow

CONDA = """#!/bin/sh
case "$1" in
  info) echo '{"conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
  --version) echo 'conda 26.1.0' ;;
  config) echo '{"get": {"channel_priority": "strict"}}' ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def with_conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conda that answers the questions Snakemake asks before it writes a Dockerfile."""
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    conda.write_text(CONDA)
    conda.chmod(0o755)
    monkeypatch.setenv("PATH", f"{conda.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("with_conda")
def test_the_image_of_environments_holds_every_one(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    dockerfile = snakemake(folder, "--containerize")
    copied = dict(re.findall(r"^COPY (\S+) (/conda-envs/\w+)/environment.yaml$", dockerfile, re.M))
    created = re.findall(r"conda env create --prefix (/conda-envs/\w+) --file (\S+)", dockerfile)
    assert sorted(created) == sorted(
        (prefix, f"{prefix}/environment.yaml") for prefix in copied.values()
    )
    environments = {f"envs/{path.name}" for path in (ROOT / "envs").glob("*.yaml")}
    with_torch = {path for path in environments if path.startswith("envs/torch")}
    assert environments - with_torch <= set(copied) <= environments
    # The one for the configured hardware, where there are several.
    assert len(with_torch & set(copied)) == 1


def test_the_image_of_one_environment_holds_the_workflow_and_its_pins() -> None:
    dockerfile = (ROOT / "containers/Dockerfile").read_text()
    [base] = re.findall(r"^FROM python:([\d.]+)-slim$", dockerfile, re.M)
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python={base}" in yaml.safe_load(path.read_text())["dependencies"]
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.M)
        for source in line.split()
    }
    assert {*WORKFLOW_PARTS, "requirements.txt", "containers/run.sh"} <= copied
    assert all((ROOT / path).exists() for path in copied)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not copied & set(ignored)


def test_apptainers_image_holds_what_the_other_does() -> None:
    dockerfile = (ROOT / "containers/Dockerfile").read_text()
    text = (ROOT / "containers/vertseg.def").read_text()
    assert re.findall(r"^From: (.+)$", text, re.M) == re.findall(r"^FROM (.+)$", dockerfile, re.M)
    files = re.search(r"^%files\n(.+?)\n\n", text, re.M | re.S)[1]
    pairs = [line.split() for line in files.splitlines()]
    assert all(target == f"/vertseg/{source}" for source, target in pairs)
    assert {source for source, _ in pairs} == {*WORKFLOW_PARTS, "LICENSE", "requirements.txt"}
    assert "install --no-cache-dir --requirement /vertseg/requirements.txt" in text


def test_the_kubernetes_job_asks_for_the_gpus_that_snakemake_counts() -> None:
    text = (ROOT / "containers/kubernetes.yaml").read_text()
    claim, job = yaml.safe_load_all(text)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert f"gpu={gpus}" in container["args"]
    assert container["resources"]["requests"]["cpu"] in container["args"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert f"WORKDIR {mounts['work']}\n" in (ROOT / "containers/Dockerfile").read_text()
    assert claim["metadata"]["name"] == pod["volumes"][0]["persistentVolumeClaim"]["claimName"]


def test_a_container_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    image = copy_workflow(tmp_path / "image")
    shutil.copytree(ROOT / "containers", image / "containers")
    volume = tmp_path / "volume"
    lock = volume / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/miniature/samples.tsv\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    arguments = ["--cores", "1", "--configfile", "config/miniature.yaml", "--"]
    done = subprocess.run(
        [image / "containers/run.sh", *arguments, "results/miniature/samples.tsv"],
        cwd=volume,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (volume / "results/miniature/samples.tsv").is_file()
    assert not lock.exists()
