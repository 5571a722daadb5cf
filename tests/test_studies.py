"""Scripts and studies start: what they import exists, and studies explain themselves."""

import ast
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

FILES = sorted([*ROOT.glob("scripts/*.py"), *ROOT.glob("studies/*.py")])
STUDIES = sorted(ROOT.glob("studies/*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_package_has_what_is_imported(file: Path) -> None:
    tree = ast.parse(file.read_text())
    compile(tree, file, "exec")
    # Imports further in are of what may not be installed, such as nnU-Net.
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vertseg"):
            module = import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize("study", STUDIES, ids=lambda file: file.stem)
def test_a_study_says_what_it_asks_and_how_it_is_called(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    question, usage = ast.get_docstring(ast.parse(study.read_text())).split("\n\n")[:2]
    assert question.endswith("?")
    assert usage.strip().startswith(f"python -m studies.{study.stem}")
    monkeypatch.setattr(sys, "argv", [study.stem, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(study), run_name="__main__")
    assert ended.value.code == 0
    assert question.split()[0] in capsys.readouterr().out
