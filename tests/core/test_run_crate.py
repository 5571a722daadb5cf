"""Provenance of a run: the crate's links and hashes."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import ROOT

from vertseg.core.errors import UserError
from vertseg.core.run_crate import Run, write_run_crate


def test_inputs_elsewhere_are_described_and_not_copied(tmp_path: Path) -> None:
    results, series = tmp_path / "results", tmp_path / "a series"
    series.mkdir()
    results.mkdir()
    for number in (1, 2):
        (series / f"{number}.dcm").write_text(f"slice {number}")
    (results / "report.html").write_text("report")
    run = Run(results, ROOT, {"seed": 7}, "9.27.1", [series], [results / "report.html"])
    write_run_crate(run)
    graph = json.loads((results / "ro-crate-metadata.json").read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    action = entities["#run"]
    configuration, *read = [one["@id"] for one in action["object"]]
    assert configuration == "configuration.yaml"
    assert read == [(series / f"{number}.dcm").as_uri() for number in (1, 2)]
    assert entities[read[1]]["sha256"] == hashlib.sha256(b"slice 2").hexdigest()
    assert action["result"] == {"@id": "report.html"}
    parts = {one["@id"] for one in entities["./"]["hasPart"]}
    assert {*read, "report.html", "configuration.yaml", "workflow/Snakefile"} <= parts
    assert not list(results.rglob("*.dcm")) and not list(results.rglob("*.onnx"))
    # Each file is an example of a parameter that the workflow names.
    workflow = entities["workflow/Snakefile"]
    named = {one["@id"] for one in [*workflow["input"], workflow["output"]]}
    assert {entities[path]["exampleOfWork"]["@id"] for path in (*read, "report.html")} < named

    (results / "report.html").unlink()
    with pytest.raises(UserError, match=r"report\.html"):
        write_run_crate(run)
