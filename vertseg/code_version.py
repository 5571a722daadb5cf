"""A fingerprint of source code, so that results are computed again when what computes them changes.

Snakemake reruns a job whose script or params changed but does not see the package behind the
script. Rules therefore carry the version of the modules that decide their results as a param.
"""

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

TRAINING_CODE = ("augmentation", "labels", "losses", "networks", "training")
"""What decides the weights, given the cached scans."""


@cache
def code_version(*modules: str) -> str:
    """Fingerprint of modules of this package; comments, docstrings and blank lines do not count.

    Args:
        modules: names below `vertseg`, such as "losses" or "nnunet/trainer"; a package stands
            for all that is in it.

    Raises:
        FileNotFoundError: there is no such module.
    """
    digest = hashlib.sha256()
    for path in sorted({path for module in modules for path in module_files(module)}):
        text = path.read_text(encoding="utf-8")
        code = statements(text) if path.suffix == ".py" else text
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n{code}\n".encode())
    return digest.hexdigest()[:12]


def module_files(module: str) -> list[Path]:
    """The file of a module, or those of a package with the tables and templates beside its modules.

    Raises:
        FileNotFoundError: there is no such module.
    """
    path = PACKAGE / module
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        return [file for file in files if "__pycache__" not in file.parts]
    if not path.with_suffix(".py").is_file():
        raise FileNotFoundError(f"vertseg has no module {module}.")
    return [path.with_suffix(".py")]


def statements(source: str) -> str:
    """Python source without comments, docstrings and blank lines.

    The text, not its syntax tree, which other versions of Python would write differently.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and _is_text(node.value):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
