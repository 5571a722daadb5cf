"""Fingerprints of the code that decides a step's results."""

import ast
import marshal
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from vertseg.core import code_version as versions
from vertseg.core.code_version import (
    PLUMBING,
    code_version,
    imported_modules,
    module_file,
    modules_behind,
)

WITHOUT_FINGERPRINT = {
    # Downloads, lists of scans and folds are never made again unasked.
    "download.py",
    "inventory.py",
    "verse_sheet.py",
    "extract.py",
    "verify_data.py",
    "sample_sheet.py",
    "folds.py",
    # Copies files.
    "ship_model.py",
}
"""Scripts of rules whose results do not depend on a fingerprint."""


CACHED = ("_memory", "_source", "imported_modules", "data_files", "module_file")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two rooms, with a script that reaches both of them."""
    files = {
        "core/errors.py": "class UserError(Exception): ...\n",
        "anatomy/labels.py": "NAMES = 1\n",
        "figures/style.py": "INK = 1\n",
        "figures/table.tsv": "a\n",
        "figures/unused.py": "X = 1\n",
        "losses.py": (
            '"""Doc."""\n\nimport math\n\nfrom vertseg.anatomy import labels\n'
            "from vertseg.core.errors import UserError\n\n\n"
            'def f(x):\n    """Doc."""\n    return x  # y\n'
        ),
        "../scripts/train.py": (
            "from vertseg.losses import f\n\nif f:\n    from vertseg.figures.style import INK\n"
        ),
        "../scripts/other.py": "from vertseg.anatomy.labels import NAMES\n",
    }
    root = tmp_path / "vertseg"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in (root, *(root / room for room in ("core", "anatomy", "figures"))):
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(versions, "PACKAGE", root)
    return root


@pytest.fixture(autouse=True)
def no_memory() -> None:
    """Nothing is known of another test's package."""
    forget()


def fresh(package: Path, script: str = "train.py", without: tuple[str, ...] = ()) -> str:
    forget()
    return code_version(package.parent / "scripts" / script, without)


def forget() -> None:
    for name in CACHED:
        getattr(versions, name).cache_clear()


class PerFile:
    """A cache of a function of a file, or of a module's name, that forgets one file at a time."""

    def __init__(self, function: Callable[[Path | str], object]) -> None:
        self.function = function
        self.results: dict[Path | str, object] = {}

    def __call__(self, file: Path | str) -> object:
        if file not in self.results:
            self.results[file] = self.function(file)
        return self.results[file]


def test_imports_are_followed_at_any_depth(package: Path) -> None:
    assert modules_behind(package.parent / "scripts/train.py") == {
        "vertseg.losses",
        "vertseg.anatomy",
        "vertseg.anatomy.labels",
        "vertseg.figures",
        "vertseg.figures.style",
    }


def test_comments_and_docstrings_do_not_count(package: Path) -> None:
    before = fresh(package)
    text = (package / "losses.py").read_text()
    (package / "losses.py").write_text(
        text.replace('"""Doc."""', '"""New."""').replace("  # y", "  # z\n\n# new")
    )
    assert fresh(package) == before
    (package / "losses.py").write_text(text.replace("return x", "return 2 * x"))
    assert fresh(package) != before


def test_what_was_read_is_kept_until_a_file_changes(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh(package)
    kept = package / versions.KEPT
    assert kept.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", None)
        assert fresh(package) == before
    (package / "figures/style.py").write_text("INK = 2\n")
    after = fresh(package)
    assert after != before
    kept.unlink()
    assert fresh(package) == after


@pytest.mark.parametrize(
    "content",
    [b"", b"no marshal", marshal.dumps([]), marshal.dumps({"reader": "another", "files": {}})],
)
def test_what_another_version_kept_is_read_anew(package: Path, content: bytes) -> None:
    before = fresh(package)
    whole = marshal.loads((package / versions.KEPT).read_bytes())
    (package / versions.KEPT).write_bytes(content)
    assert fresh(package) == before
    assert marshal.loads((package / versions.KEPT).read_bytes()) == whole


def test_nothing_is_kept_where_nothing_can_be_written(package: Path) -> None:
    (package / "__pycache__").write_text("no folder")
    assert fresh(package) == fresh(package)


def test_a_text_that_is_used_counts(package: Path) -> None:
    (package / "losses.py").write_text('A = "# no comment"\n')
    before = fresh(package)
    (package / "losses.py").write_text('A = "# another"\n')
    assert fresh(package) != before


def test_a_moved_function_changes_nothing(package: Path) -> None:
    before = fresh(package)
    text = (package / "losses.py").read_text()
    start = text.index("def f")
    (package / "figures/style.py").write_text(f"import math\n\n{text[start:]}\nINK = 1\n")
    (package / "losses.py").write_text("from vertseg.figures.style import f\n")
    (package / "figures/style.py").rename(package / "figures/pens.py")
    script = package.parent / "scripts/train.py"
    script.write_text(
        "from vertseg.figures.pens import f\n\nif f:\n    from vertseg.figures.pens import INK\n"
    )
    # It still reaches what it did: the labels.
    (package / "figures/pens.py").write_text(
        "from vertseg.anatomy import labels\n" + (package / "figures/pens.py").read_text()
    )
    assert fresh(package) == before


def test_files_beside_a_module_count(package: Path) -> None:
    before, other = fresh(package), fresh(package, "other.py")
    (package / "figures/table.tsv").write_text("b\n")
    assert fresh(package) != before
    assert fresh(package, "other.py") == other


def test_what_is_left_out_does_not_count(package: Path) -> None:
    before = fresh(package, without=("figures",))
    (package / "figures/style.py").write_text("INK = 2\n")
    assert fresh(package, without=("figures",)) == before
    (package / "anatomy/labels.py").write_text("NAMES = 2\n")
    assert fresh(package, without=("figures",)) != before
    with pytest.raises(ValueError, match=r"train\.py: does not import vertseg\.figures\.unused"):
        fresh(package, without=("figures.unused",))


def rules() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Script and modules left out by each rule that carries a fingerprint."""
    names = {"LISTS": ("dataset.folds", "dataset.samples"), "NNUNET_LOG": ("nnunet.process",)}
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for call in re.findall(r"\bcode=code\(((?:[^()]|\([^()]*\))*)\)", path.read_text()):
            text = re.sub(r"#[^\n]*", "", call)
            tree = ast.parse(f"f({text})", mode="eval").body
            script = ast.literal_eval(tree.args[0])
            left_out = re.findall(r"\*?\b(LISTS|NNUNET_LOG)\b", text)
            own = tuple(re.findall(r'"([\w.]+)"', text))[1:]
            found[script] = (script, (*(n for key in left_out for n in names[key]), *own))
    return found


RULES = rules()


def test_every_script_has_a_fingerprint_or_needs_none() -> None:
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert scripts == set(RULES) | WITHOUT_FINGERPRINT
    assert not set(RULES) & WITHOUT_FINGERPRINT


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the scripts, to be changed."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("vertseg", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__", "*.onnx", "*.safetensors")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def reachable(folder: Path, script: str, without: tuple[str, ...]) -> set[Path]:
    """Files that a script imports, by a walk of its own."""
    left_out = [folder / "vertseg" / name.replace(".", "/") for name in without]
    plumbing = {versions.module_file(name) for name in PLUMBING}
    seen: set[Path] = set()
    waiting = [folder / "scripts" / script]
    while waiting:
        text = waiting.pop().read_text()
        for module, names in re.findall(
            r"^\s*from (vertseg[\w.]*) import ((?:\([^)]*\))|[^\n]+)", text, re.M
        ):
            parts = [module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))]
            for part in parts:
                path = folder.joinpath(*part.split("."))
                inits = [above / "__init__.py" for above in (path, *path.parents)]
                for file in (path.with_suffix(".py"), *inits):
                    inside = file.is_file() and (folder / "vertseg") in file.parents
                    gone = file in plumbing or any(
                        file.with_suffix("") == one or one in file.parents for one in left_out
                    )
                    if inside and not gone and file not in seen:
                        seen.add(file)
                        waiting.append(file)
    return seen


def test_a_touched_module_changes_the_rules_that_reach_it_and_no_other(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every module in turn gets a statement more; the fingerprints of all rules are compared."""
    monkeypatch.setattr(versions, "PACKAGE", copy / "vertseg")
    monkeypatch.setattr(versions.Memory, "keep", lambda memory: None)
    by_file = [name for name in CACHED if name != "_memory"]
    caches = {name: PerFile(getattr(versions, name).__wrapped__) for name in by_file}
    for name, own in caches.items():
        monkeypatch.setattr(versions, name, own)

    def all_versions() -> dict[str, str]:
        return {
            script: code_version(copy / "scripts" / script, without)
            for script, without in RULES.values()
        }

    before = all_versions()
    expected = {script: reachable(copy, script, without) for script, without in RULES.values()}
    for module in sorted((copy / "vertseg").rglob("*.py")):
        text = module.read_text()
        module.write_text(f"{text}\nTOUCHED = 1\n")
        for own in caches.values():
            own.results.pop(module, None)
        after = all_versions()
        module.write_text(text)
        for own in caches.values():
            own.results.pop(module, None)
        changed = {script for script in before if before[script] != after[script]}
        assert changed == {script for script in before if module in expected[script]}, module


@pytest.mark.parametrize(
    ("module", "script"),
    [
        ("dataset/annotations.py", "audit.py"),
        ("networks/mobilenet_aspp.py", "predict_own_scan.py"),
        ("evaluation/files.py", "evaluate.py"),
        ("anatomy/centroids.py", "screening_validation.py"),
        ("dataset/layout.py", "nnunet_predict.py"),
        ("scans/volumes.py", "nnunet_scan.py"),
        ("segmentation/model.py", "export_onnx.py"),
        ("training/losses.py", "train.py"),
        ("networks/registry.py", "train.py"),
    ],
)
def test_known_dependencies_are_reached(module: str, script: str) -> None:
    name = "vertseg." + module.removesuffix(".py").replace("/", ".")
    assert name in modules_behind(ROOT / "scripts" / script, RULES[script][1])


@pytest.mark.parametrize(
    ("module", "script"),
    [
        ("figures/localisation.py", "predict_own_scan.py"),
        ("figures/localisation.py", "dataset_figure.py"),
        ("evaluation/metrics.py", "train.py"),
        ("segmentation/decode.py", "train.py"),
        ("segmentation/decode.py", "preprocess.py"),
        ("dataset/folds.py", "predict.py"),
    ],
)
def test_modules_without_influence_are_not_reached(module: str, script: str) -> None:
    name = "vertseg." + module.removesuffix(".py").replace("/", ".")
    assert name not in modules_behind(ROOT / "scripts" / script, RULES[script][1])


def test_all_plumbing_is_there_and_the_rest_of_core_counts() -> None:
    assert all(module_file(name).is_file() for name in PLUMBING)
    core = {f"vertseg.core.{path.stem}" for path in (ROOT / "vertseg/core").glob("*.py")}
    core = core - {"vertseg.core.__init__"} | {"vertseg.core"}
    assert core - PLUMBING == {"vertseg.core.notice", "vertseg.core.run_crate"}


def test_type_checkers_imports_do_not_count(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
        "    from vertseg.anatomy import labels\n"
    )
    assert imported_modules(script) == frozenset()
