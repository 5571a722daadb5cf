"""Reference page of the configuration, from its schema.

python -m vertseg.dataset.reference schemas/config.schema.yaml > docs/configuration.md
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vertseg.dataset.config import Schema, kinds, read_schema, resolved

INTRODUCTION = """\
# Configuration

<!-- Made by `make reference` from schemas/config.schema.yaml: edit that file. -->

A run's configuration is `config.yaml`, then the files after `--configfile`, then `--config`; later
ones win. Mappings are merged, everything else is replaced. A key that is nowhere stated has the
default below. Mistakes are reported before anything runs.

```
snakemake --cores 8 --configfile config/demo.yaml --config training='{iterations: 300}' seed=1
```"""

NAMES = {"integer": "integer", "number": "number", "boolean": "`true`, `false`", "string": "text"}


class Key(NamedTuple):
    """A row of a table: a key's name, its allowed values, its default and its meaning."""

    name: str
    values: str
    default: str
    meaning: str


def reference_page(schema: Schema) -> str:
    """The page as Markdown: a table of top-level keys, then one of each top-level mapping."""
    parts = {name: resolved(part, schema) for name, part in schema["properties"].items()}
    sections = {name: part for name, part in parts.items() if kinds(part) == ["object"]}
    required = schema.get("required", [])
    top = [
        _key(name, part, name in required, schema)
        for name, part in parts.items()
        if name not in sections
    ]
    links = ", ".join(f"[`{name}`](#{name})" for name in sections)
    page = [INTRODUCTION, "## Top level", _table(top), f"Mappings: {links}."]
    for name, section in sections.items():
        needed = " Required." if name in required else ""
        page += [f"## {name}", _linked(section["description"]) + needed]
        page.append(_table(_keys(section, "", schema)))
    return "\n\n".join(page)


def _keys(section: Schema, prefix: str, root: Schema) -> Iterator[Key]:
    """Keys of a mapping and of the mappings below, whose names have dots."""
    properties = dict(section.get("properties", {}))
    if isinstance(section.get("additionalProperties"), dict):
        properties["{name}"] = section["additionalProperties"]
    for name, stated in properties.items():
        part = resolved(stated, root)
        below = kinds(part) == ["object"] and not part.get("differences")
        if not below or "description" in part:
            required = name in section.get("required", [])
            yield _key(f"{prefix}{name}", part, required, root)
        if below:
            yield from _keys(part, f"{prefix}{name}.", root)


def _key(name: str, part: Schema, required: bool, root: Schema) -> Key:
    if "default" in part:
        default = f"`{_value(part['default'])}`"
    else:
        default = "required" if required else ""
    return Key(f"`{name}`", _values(part, root), default, _linked(part["description"]))


def _values(part: Schema, root: Schema) -> str:
    """The allowed values of a key in words."""
    part = resolved(part, root)
    if "enum" in part:
        return ", ".join(f"`{choice}`" for choice in part["enum"])
    return " or ".join(_kind(kind, part, root) for kind in kinds(part))


def _kind(kind: str, part: Schema, root: Schema) -> str:
    """The allowed values of one of a key's types in words."""
    if kind == "null":
        return "`null`"
    if kind == "object":
        inner = part.get("properties", {})
        if len(kinds(part)) == 1:
            return "mapping"
        described = ", ".join(f"{key}: {_values(value, root)}" for key, value in inner.items())
        return f"{{{described}}}"
    if kind == "array":
        least, most = part.get("minItems"), part.get("maxItems")
        number = f"{least} " if least and least == most else ""
        plural = re.sub(r"\b(integer|number)\b", r"\1s", _values(part["items"], root))
        return f"list of {number}{plural}"
    if kind == "string":
        return f"text, `{part['pattern']}`" if "pattern" in part else "text"
    bounds = [
        f"{sign} {_value(part[bound])}"
        for bound, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if bound in part
    ]
    return " ".join([NAMES[kind], ", ".join(bounds)]).strip()


def _linked(text: str) -> str:
    """A description whose names of documents are links from docs/."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(keys: Iterable[Key]) -> str:
    rows = [("key", "value", "default", "meaning"), ("---",) * 4, *keys]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )


if __name__ == "__main__":
    print(reference_page(read_schema(Path(sys.argv[1]))))
