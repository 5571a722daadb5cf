"""Provenance of a run as a Workflow Run RO-Crate: what was computed from what, and by what.

The crate is the folder of results itself. `ro-crate-metadata.json` describes files beside it and
inputs, wherever they lie, with their SHA-256, the configuration and the versions. Nothing but
the workflow's own code is copied.

Source: Leo et al., Recording provenance of workflow runs with RO-Crate, PLoS ONE 19(9), 2024;
Workflow Run Crate 0.5.
"""

import mimetypes
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vertseg import __version__
from vertseg.core.files import file_sha256, walk_files, write_json, write_text
from vertseg.core.notice import LICENCE

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

METADATA_NAME = "ro-crate-metadata.json"
CONFIGURATION_NAME = "configuration.yaml"
WORKFLOW_FOLDER = "workflow"
"""Folder of the crate with a copy of the workflow."""

COPIED = (
    "Snakefile", "config.yaml", "captions", "config", "envs", "resources", "rules", "schemas",
    "scripts", "vertseg",
)  # fmt: skip
"""Parts of the workflow in the crate. Model files are left out: those that are used are inputs."""

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
LICENCE_URL = f"https://spdx.org/licenses/{LICENCE}"


@dataclass(frozen=True)
class Run:
    """A finished run of the workflow.

    Attributes:
        results: folder of the results.
        workflow: folder of the workflow.
        configuration: the complete configuration.
        snakemake: version of Snakemake.
        inputs: files and folders that the run read.
        outputs: files and folders below `results` that it wrote.
    """

    results: Path
    workflow: Path
    configuration: Mapping[str, Any]
    snakemake: str
    inputs: Iterable[Path]
    outputs: Iterable[Path]


def write_run_crate(run: Run) -> None:
    """Describe a run in its folder of results.

    Raises:
        UserError: an input or output is missing or cannot be read.
    """
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(CONTEXT)
    configuration = run.results / CONFIGURATION_NAME
    write_text(configuration, yaml.safe_dump(dict(run.configuration), sort_keys=False))
    workflow = _add_workflow(crate, run)
    outputs = list(_all_files(run.outputs))
    setting = _add_file(crate, configuration, run.results)
    read = [_add_file(crate, path, run.results) for path in _all_files(run.inputs)]
    written = [_add_file(crate, path, run.results) for path in outputs]
    action = _add(
        crate, "#run", "CreateAction",
        name=f"Run of vertseg {__version__}",
        description="All jobs of one configuration, run by Snakemake.",
        endTime=_utc(max(path.stat().st_mtime for path in outputs)),
        instrument=workflow,
        object=_single([setting, *read]),
        result=_single(written),
    )  # fmt: skip
    named = {"configuration": [setting], "inputs": read}
    workflow["input"] = _single(
        [_add_parameter(crate, name, files) for name, files in named.items() if files]
    )
    workflow["output"] = _add_parameter(crate, "results", written)
    crate.name = f"Results of vertseg {__version__} in {run.results.name}"
    crate.description = (
        "Vertebra labelling and segmentation in CT. Research use only. Inputs that lie elsewhere "
        "are described by name and SHA-256."
    )
    crate.license = _add(
        crate, "#licence", "CreativeWork",
        name="Not stated",
        description="The owner of the scans decides about results that were made from them.",
    )  # fmt: skip
    crate.root_dataset["mentions"] = action
    crate.root_dataset["conformsTo"] = [
        _add(crate, address, "CreativeWork", name=name, version=number)
        for address, (name, number) in PROFILES.items()
    ]
    write_json(run.results / METADATA_NAME, crate.metadata.generate())


def _add_workflow(crate: "ROCrate", run: Run) -> "Entity":
    """The workflow, copied into the crate, with the versions that ran it."""
    target = run.results / WORKFLOW_FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__", "*.onnx", "*.safetensors")
    for source in (run.workflow / name for name in COPIED):
        if source.is_dir():
            shutil.copytree(source, target / source.name, ignore=left_out)
        else:
            shutil.copy(source, target)
    workflow = crate.add_workflow(
        target / "Snakefile", f"{WORKFLOW_FOLDER}/Snakefile",
        main=True, lang="snakemake", lang_version=run.snakemake,
        properties={
            "name": "vertseg",
            "version": __version__,
            "license": {"@id": LICENCE_URL},
            "conformsTo": {"@id": WORKFLOW_PROFILE},
            "encodingFormat": "text/plain",
        },
    )  # fmt: skip
    workflow["sha256"] = file_sha256(target / "Snakefile")
    needed = {
        "https://snakemake.github.io": ("Snakemake", run.snakemake),
        "https://www.python.org": ("Python", platform.python_version()),
    }
    workflow["softwareRequirements"] = [
        _add(crate, page, "SoftwareApplication", name=name, version=number, url=page)
        for page, (name, number) in needed.items()
    ]
    crate.add_dataset(
        target, f"{WORKFLOW_FOLDER}/",
        properties={"name": "Copy of the workflow, with its environments and pinned versions"},
    )  # fmt: skip
    return workflow


def _add_parameter(crate: "ROCrate", name: str, examples: list["Entity"]) -> "Entity":
    parameter = _add(
        crate, f"#parameter-{name}", "FormalParameter",
        name=name, additionalType="File", workExample=_single(examples),
        multipleValues=len(examples) != 1, conformsTo={"@id": PARAMETER_PROFILE},
    )  # fmt: skip
    for example in examples:
        example["exampleOfWork"] = parameter
    return parameter


def _add_file(crate: "ROCrate", path: Path, results: Path) -> "Entity":
    """A file: of the crate by its relative path, another by its address on this machine."""
    path = path.absolute()
    within = path.is_relative_to(results.absolute())
    properties = {
        "name": path.name,
        "sha256": file_sha256(path),
        "contentSize": str(path.stat().st_size),
        "dateModified": _utc(path.stat().st_mtime),
        "encodingFormat": _media_type(path.name),
    }
    if within:
        place: dict[str, Any] = {
            "source": path,
            "dest_path": path.relative_to(results.absolute()).as_posix(),
        }
    else:
        place = {"source": path.as_uri()}
    entity: Entity = crate.add_file(**place, properties=properties)
    return entity


def _add(crate: "ROCrate", identifier: str, kind: str, **properties: Any) -> "Entity":
    from rocrate.model.contextentity import ContextEntity

    entity = ContextEntity(crate, identifier, properties={"@type": kind})
    for name, value in properties.items():
        entity[name] = value
    added: Entity = crate.add(entity)
    return added


def _all_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files, and the files in folders and below, each once."""
    seen = set()
    for path in paths:
        if path.is_dir():
            files = [folder / name for folder, names in walk_files(path) for name in names]
        else:
            files = [path]
        for file in files:
            if file not in seen:
                seen.add(file)
                yield file


def _single(values: list["Entity"]) -> "Entity | list[Entity]":
    """A value, or several; RO-Crate wants no list of one."""
    return values[0] if len(values) == 1 else values


def _media_type(name: str) -> str:
    kind, packed = mimetypes.guess_type(name)
    return (f"application/{packed}" if packed else kind) or "application/octet-stream"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
