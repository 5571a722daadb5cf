"""The reference page of the configuration."""

from conftest import ROOT
from recipes import SCHEMA

from vertseg.dataset.config import read_schema
from vertseg.dataset.reference import reference_page

SMALL = {
    "properties": {
        "seed": {"description": "Seed.", "type": "integer", "minimum": 0, "default": 1},
        "grid": {"$ref": "#/$defs/grid", "description": "Grid.", "default": [8, 8, 8]},
        "part": {
            "description": "A part (docs/part.md).",
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": {"description": "Kind.", "enum": ["a", "b"]},
                "share": {
                    "description": "Share.", "type": "number", "minimum": 0, "maximum": 1
                },
                "device": {"description": "Device.", "type": "string", "pattern": "^(a|b)$"},
                "inner": {
                    "description": "Inner part.",
                    "type": "object",
                    "properties": {"on": {"description": "On.", "type": ["boolean", "null"]}},
                },
                "changes": {
                    "description": "Changes.",
                    "type": "object",
                    "properties": {"on": {"description": "On.", "type": "boolean"}},
                    "differences": True,
                },
            },
        },
    },
    "required": ["part"],
    "$defs": {
        "grid": {
            "type": ["array", "object"],
            "items": {"type": "integer", "minimum": 8},
            "minItems": 3,
            "maxItems": 3,
            "properties": {"spacing_mm": {"type": "number", "exclusiveMinimum": 0}},
        }
    },
}  # fmt: skip

ROWS = """
| `seed` | integer ≥ 0 | `1` | Seed. |
| `grid` | list of 3 integers ≥ 8 or {spacing_mm: number > 0} | `[8, 8, 8]` | Grid. |
| `kind` | `a`, `b` | required | Kind. |
| `share` | number ≥ 0, ≤ 1 |  | Share. |
| `device` | text, `^(a\\|b)$` |  | Device. |
| `inner` | mapping |  | Inner part. |
| `inner.on` | `true`, `false` or `null` |  | On. |
| `changes` | mapping |  | Changes. |
"""


def test_the_committed_page_is_up_to_date() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == reference_page(read_schema(SCHEMA)) + "\n", "run `make reference`"


def test_rows_of_a_small_schema() -> None:
    page = reference_page(SMALL)
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == ROWS.strip().splitlines()
    assert "## part\n\nA part ([part.md](part.md)). Required.\n" in page
