"""JSON files that state their format: results of scans, and readers' corrections of them."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertseg.core.errors import UserError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


def read_stated(path: Path, kind: str, stated: str, foreign: str, again: str) -> dict[str, Any]:
    """Read a JSON file and check it against the schema of its kind.

    Infinity and NaN stand for no value.

    Args:
        path: the file.
        kind: what it should be; `{kind}.schema.json` lies beside this module.
        stated: the format that it must state.
        foreign: advice about a file of another format.
        again: advice about a damaged or missing file.

    Raises:
        UserError: the file is missing, not JSON, of another format or against the schema.
    """
    try:
        content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise UserError(f"{path}: no such {kind}. {again}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}). {again}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != stated:
        raise UserError(
            f"{path}: not a {kind} of vertseg: its format is {found!r}, not {stated!r}. {foreign}"
        )
    # Its import takes longer than the check.
    from jsonschema.exceptions import best_match

    flaw = best_match(_validator(kind).iter_errors(content))
    if flaw:
        raise UserError(f"{path}: {flaw.json_path.removeprefix('$.')}: {flaw.message}. {again}")
    checked: dict[str, Any] = content
    return checked


@cache
def _validator(kind: str) -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

    schema = files("vertseg.predict").joinpath(f"{kind}.schema.json").read_text()
    return Draft202012Validator(json.loads(schema))
