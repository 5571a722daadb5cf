"""Dataclasses of settings, built from the configuration's values."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

from vertseg.core.errors import UserError

Settings = TypeVar("Settings")


def settings_from(cls: type[Settings], values: dict[str, Any], section: str) -> Settings:
    """An instance of a dataclass from a mapping of its fields.

    Args:
        cls: the dataclass.
        values: by name of the field.
        section: of the configuration, for messages.

    Raises:
        UserError: a value without a field, or a field without default or value.
    """
    known = fields(cls)  # type: ignore[arg-type]
    unknown = values.keys() - {field.name for field in known}
    if unknown:
        raise UserError(f"{section}: unknown setting {', '.join(sorted(unknown))}.")
    missing = [
        field.name for field in known if field.default is MISSING and field.name not in values
    ]
    if missing:
        raise UserError(f"{section}: missing setting {', '.join(missing)}.")
    return cls(**values)
