"""Which code decides which results."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

import vertseg.core.code_version
from vertseg.core.code_version import TRAINING_CODE, code_version, module_files, statements

DECIDES_NOTHING = {
    # What they do wrong stops a step or shows at once.
    "errors", "files", "logs", "parallel", "devices", "gpus", "weights",
    # Downloads and lists of scans: results of theirs are inputs, and never made again unasked.
    "archives", "bulk", "download", "verse", "samples",
    # Once drawn the folds stay.
    "folds",
    # The fingerprint itself.
    "code_version",
    # Logs and failures of nnU-Net's processes.
    "nnunet/process",
}  # fmt: skip


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vertseg.core.code_version, "PACKAGE", tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/style.py").write_text("INK = 1\n")
    (tmp_path / "figures/table.tsv").write_text("a\n")
    (tmp_path / "losses.py").write_text(
        '"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    return x  # y\n'
    )
    return tmp_path


def fresh(*modules: str) -> str:
    return code_version.__wrapped__(*modules)


def test_statements_are_what_is_left_of_source() -> None:
    source = (
        '"""Doc.\n\n# more"""\n\nA = "# no comment"  # comment\n\n\n'
        'class B:\n    """Doc."""\n\n    c = 1\n    """Doc of c."""\n'
    )
    assert statements(source) == 'A = "# no comment"\nclass B:\n    c = 1'


def test_the_version_is_that_of_the_statements(package: Path) -> None:
    before = fresh("losses")
    (package / "losses.py").write_text('"""New."""\n# new\ndef f(x):\n    return x\n')
    assert fresh("losses") == before
    (package / "losses.py").write_text("def f(x):\n    return 2 * x\n")
    assert fresh("losses") != before


def test_a_package_stands_for_all_that_is_in_it(package: Path) -> None:
    before, other = fresh("figures"), fresh("losses")
    (package / "figures/table.tsv").write_text("b\n")
    assert fresh("figures") != before
    assert fresh("losses") == other
    assert fresh("figures", "losses") == fresh("losses", "figures") not in (before, other)


def test_an_unknown_module_is_an_error(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match="loses"):
        fresh("loses")


def imported(path: Path) -> set[Path]:
    """Files of the package that a file imports, directly or through others."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if node.module.split(".")[0] != "vertseg":
                continue
            below = node.module.removeprefix("vertseg").lstrip(".")
            names = [below] if below else [alias.name for alias in node.names]
            names = [name for name in names if not name.startswith("__")]
            for name in names:
                file = ROOT / "vertseg" / name.replace(".", "/")
                files = file.rglob("*.py") if file.is_dir() else [file.with_suffix(".py")]
                new = [one for one in files if one not in found]
                found.update(new)
                waiting.extend(new)
    return found


def test_every_module_behind_a_step_is_declared() -> None:
    """A new module is named by the rule whose result it decides, or above with a reason."""
    rules = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    declared = set(TRAINING_CODE)
    for arguments in re.findall(r"code_version\(([^)]*)\)", rules):
        declared |= set(re.findall(r'"([\w/]+)"', arguments))
    decided = {file for module in declared for file in module_files(module)}
    exempt = {file for module in DECIDES_NOTHING for file in module_files(module)}
    scripts = set(re.findall(r"(?:scripts/|nnunet_step\(\s*\")(\w+)\.py", rules))
    behind = set().union(*(imported(ROOT / f"scripts/{script}.py") for script in scripts))
    assert behind - decided == exempt
