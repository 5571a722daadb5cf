"""Fingerprints of the code behind a step, so that results are computed again when it changes.

Snakemake reruns a job whose script or params changed but does not see the package behind the
script. Each rule therefore carries, as a param, the fingerprint of its script and of all modules
of this package that the script imports, directly or through others.

A fingerprint is made of a module's statements, not of its name or place: comments, docstrings,
blank lines, imports of this package and the order of definitions do not count, so that moving a
function to another module reruns nothing.

What is read in a file is kept beside Python's own compiled modules, by the hash of the file's
bytes: each start of Snakemake, of which a cluster has one a job, needs it of the whole package.
"""

import ast
import hashlib
import io
import marshal
import tokenize
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeGuard

from vertseg.core.files import atomic_path, file_sha256

PACKAGE = Path(__file__).parents[1]

KEPT = "__pycache__/code_version.bin"
"""Where what was read in the package's files is kept, below the package's folder."""

PLUMBING = frozenset(
    {
        # The version number alone.
        "vertseg",
        # Mistakes in these stop a step or show at once.
        "vertseg.core",
        "vertseg.core.code_version",
        "vertseg.core.errors",
        "vertseg.core.files",
        "vertseg.core.gpus",
        "vertseg.core.imports",
        "vertseg.core.interruption",
        "vertseg.core.logs",
        "vertseg.core.parallel",
        "vertseg.core.progress",
        "vertseg.core.settings",
        "vertseg.core.stale_lock",
        "vertseg.core.tsv",
        "vertseg.core.workflow_log",
    }
)
"""Modules that do not affect the results of any step."""


def code_version(script: Path, without: Collection[str] = ()) -> str:
    """Fingerprint of a script and of the modules of this package behind it.

    Args:
        script: a Python file.
        without: modules or rooms ("dataset.folds", "evaluation") that do not affect the script's
            results; modules that only they import are left out too.

    Raises:
        ValueError: the script does not import a module or room of `without`.
    """
    files = [script, *map(module_file, modules_behind(script, without))]
    imports: set[str] = set()
    definitions: list[str] = []
    data: set[Path] = set()
    for file in files:
        source = _source(file)
        imports.update(source.imports)
        definitions += source.definitions
        if file != script:
            data.update(data_files(file.parent))
    digest = hashlib.sha256()
    for text in [*sorted(imports), *sorted(definitions)]:
        digest.update(text.encode() + b"\0")
    for path in sorted(data, key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    _memory().keep()
    return digest.hexdigest()[:12]


def modules_behind(script: Path, without: Collection[str] = ()) -> set[str]:
    """Modules of this package that a script imports, directly or through others, by full name.

    Args:
        script: a Python file.
        without: as for `code_version`.

    Raises:
        ValueError: as for `code_version`.
    """
    left_out = {f"{PACKAGE.name}.{name}" for name in without}
    behind = _closure(script, PLUMBING)
    needless = [
        name for name in left_out if not any(f"{one}.".startswith(f"{name}.") for one in behind)
    ]
    if needless:
        names = ", ".join(sorted(needless))
        raise ValueError(f"{script}: does not import {names}, which is to be left out.")
    return _closure(script, PLUMBING | left_out) if left_out else behind


def _closure(script: Path, left_out: Collection[str]) -> set[str]:
    """Modules behind a script, but for the modules and rooms left out."""
    rooms = tuple(f"{name}." for name in left_out if name not in PLUMBING)
    found: set[str] = set()
    waiting = list(imported_modules(script))
    while waiting:
        module = waiting.pop()
        if module not in found and module not in left_out and not module.startswith(rooms):
            found.add(module)
            waiting.extend(imported_modules(module_file(module)))
    return found


@cache
def imported_modules(file: Path) -> frozenset[str]:
    """Modules of this package that a Python file imports, by full name, with their packages."""
    found: set[str] = set()
    for name in _source(file).names:
        parts = name.split(".")
        within = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        found.update(module for module in within if module_file(module).is_file())
    return frozenset(found)


@cache
def module_file(module: str) -> Path:
    """Source of a module of this package; of a package, its `__init__.py`."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def data_files(room: Path) -> frozenset[Path]:
    """Files that a package's modules read: the tables, schemas and templates in its folder."""
    packages = {init.parent for init in room.glob("*/__init__.py")}
    return frozenset(
        file
        for file in room.rglob("*")
        if file.is_file()
        and file.suffix != ".py"
        and "__pycache__" not in file.parts
        and not packages.intersection(file.parents)
    )


class Source(NamedTuple):
    """What a fingerprint takes from a Python file.

    Attributes:
        names: what it imports from this package: modules, or what they define.
        imports: its imports of other packages.
        definitions: its other statements; see the module's docstring.
    """

    names: list[str]
    imports: list[str]
    definitions: list[str]


class Memory:
    """What fingerprints take from files, by the hash of the file's bytes; kept in a file itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_new = False
        self.sources: dict[str, Source] = {}
        with suppress(OSError, ValueError, LookupError, TypeError, EOFError):
            kept = marshal.loads(path.read_bytes())
            if kept["reader"] == file_sha256(__file__):
                self.sources = {key: Source(*source) for key, source in kept["files"].items()}

    def source(self, content: bytes) -> Source:
        """What a fingerprint takes from a Python file of this content."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self.sources:
            text = content.decode()
            tree = ast.parse(text)
            self.sources[key] = Source(_imported_names(tree), *_statements(text, tree))
            self.is_new = True
        return self.sources[key]

    def keep(self) -> None:
        """Write what is new; a folder that cannot be written is left alone."""
        if self.is_new:
            files = {key: tuple(source) for key, source in self.sources.items()}
            content = marshal.dumps({"reader": file_sha256(__file__), "files": files})
            with suppress(OSError), atomic_path(self.path) as temporary:
                temporary.write_bytes(content)
            self.is_new = False


@cache
def _memory() -> Memory:
    return Memory(PACKAGE / KEPT)


@cache
def _source(file: Path) -> Source:
    return _memory().source(file.read_bytes())


def _imported_names(tree: ast.Module) -> list[str]:
    """What a file imports from this package, by full name; a name may be a submodule."""
    names: list[str] = []
    for node in _importing(tree):
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names += [f"{prefix}{alias.name}" for alias in node.names]
    return names


def _importing(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports of this package at any depth, but for those of type checkers alone."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if _is_import(node):
            yield node
        elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(_parts(node))


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """The statements, and the handlers and cases of statements, right inside one.

    There are ten times as many expressions, which hold no statement.
    """
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        yield from getattr(node, field, ())


def _all_parts(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, handlers and cases at any depth."""
    waiting = list(_parts(tree))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(_parts(node))


def _is_import(node: ast.AST) -> TypeGuard[ast.Import | ast.ImportFrom]:
    """Whether a node imports something of this package."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == PACKAGE.name
    return isinstance(node, ast.Import) and any(
        alias.name.split(".")[0] == PACKAGE.name for alias in node.names
    )


def _statements(source: str, tree: ast.Module) -> tuple[list[str], list[str]]:
    """A file's imports of other packages, and its other statements; see the module's docstring.

    The text, not the syntax tree, which other versions of Python would write differently.
    """
    lines = source.splitlines()
    for node in _all_parts(tree):
        if _is_import(node) or (isinstance(node, ast.Expr) and _is_text(node.value)):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = [""] * (last - first)
    imports: list[str] = []
    definitions: list[str] = []
    for node in tree.body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        kept = _without_comments(lines[first - 1 : node.end_lineno])
        if text := "\n".join(line for line in map(str.rstrip, kept) if line):
            is_import = isinstance(node, (ast.Import, ast.ImportFrom))
            (imports if is_import else definitions).append(text)
    return imports, definitions


def _without_comments(lines: list[str]) -> list[str]:
    """The lines of a statement."""
    if not any("#" in line for line in lines):
        return lines
    kept = list(lines)
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            kept[row - 1] = kept[row - 1][:column]
    return kept


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
