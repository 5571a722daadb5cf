"""Data files that headers of MetaImage and NRRD name; needs no arrays."""

import os
import re
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.scans.find import ITK, file_suffix

LONGEST_HEADER = 1 << 20
"""Largest size of a header in bytes."""
MOST_FILES = 20_000
"""Largest number of data files of one header."""

LAST_FIELD = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:]([^\n]*)(?:\n|$)", re.MULTILINE)
"""The last field of a MetaImage's header."""
END_OF_NRRD = re.compile(rb"\r?\n\r?\n")
_NRRD_FIELD = re.compile(rb"^data ?file:(?!=)(.*)$", re.MULTILINE | re.IGNORECASE)


def files_of_image(path: str | os.PathLike[str]) -> list[Path]:
    """A file of MetaImage or NRRD and the data files that it names, sorted.

    The file alone where its header names none or is damaged, which its reader says.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    # A pipe would be read without an end.
    if file_suffix(path) not in ITK or not path.is_file():
        return [path]
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    try:
        if file_suffix(path) in (".mha", ".mhd"):
            field = LAST_FIELD.search(start)
            names = metaimage_names(field[1], start[field.end() :])[0] if field else []
        else:
            end = END_OF_NRRD.search(start)
            header = start[: end.start()] if end else start
            field = _NRRD_FIELD.search(header)
            listed = header[field.end() :] if field else b""
            names = nrrd_names(_text(field[1]), _lines(listed))[0] if field else []
        return sorted({path, *data_files(path, names)} if names else {path})
    except (UserError, ValueError):
        return [path]


def metaimage_names(value: bytes, rest: bytes) -> tuple[list[str], str | None]:
    """Names of data files by the field `ElementDataFile`, none for data in the same file.

    Args:
        value: of the field.
        rest: what follows the field.

    Returns:
        The names, and what the field says of the axes of each: "" if it says nothing, None if one
        file holds all.

    Raises:
        ValueError: the field is damaged.
    """
    text = _text(value)
    words = text.split()
    if words and words[0].upper() == "LOCAL":
        return [], None
    if words and words[0].upper() == "LIST":
        return _lines(rest), words[1].upper().removesuffix("D") if len(words) > 1 else ""
    if len(words) == 4 and "%" in words[0]:
        first, last, step = (whole_number(w, "ElementDataFile", 0, 1 << 31) for w in words[1:])
        return numbered_names(words[0], first, last, step), ""
    return [text], None


def nrrd_names(value: str, listed: list[str]) -> tuple[list[str], str | None]:
    """Names of data files by the field `data file`.

    Args:
        value: of the field.
        listed: the lines that follow the field.

    Returns:
        The names, and what the field says of the axes of each, see `metaimage_names`.

    Raises:
        ValueError: the field is damaged.
    """
    words = value.split()
    if words[:1] == ["LIST"]:
        return listed, "".join(words[1:])
    if len(words) in (4, 5) and "%" in words[0]:
        first, last, step = (whole_number(w, "data file", -(1 << 31), 1 << 31) for w in words[1:4])
        return numbered_names(words[0], first, last, step), "".join(words[4:])
    return [value], None


def data_files(header: Path, names: list[str]) -> tuple[Path, ...]:
    """Paths of data files named relative to their header.

    Raises:
        UserError: there are too many.
    """
    if not 0 < len(names) <= MOST_FILES:
        raise UserError(f"{header}: the header names {len(names)} data files, not one scan's.")
    return tuple(header.parent / name for name in names)


def numbered_names(pattern: str, first: int, last: int, step: int) -> list[str]:
    """Names of data files by a pattern with one number, as in `slice%03d.raw`.

    Raises:
        ValueError: the pattern is invalid.
    """
    before, mark, after = pattern.partition("%")
    digits, letter, rest = after.partition("d")
    if not mark or not letter or "%" in rest or not (digits == "" or digits.isdecimal()):
        raise ValueError(f"{pattern!r} is not a pattern of file names")
    width = whole_number(digits or "0", "the pattern's width", 0, 20)
    fill = "0" if digits.startswith("0") else " "
    if step == 0 or (last - first) * step < 0 or abs((last - first) // step) > MOST_FILES:
        raise ValueError(f"no files from {first} to {last} by {step}")
    end = last + (1 if step > 0 else -1)
    return [f"{before}{str(number).rjust(width, fill)}{rest}" for number in range(first, end, step)]


def whole_number(text: str, name: str, low: int, high: int) -> int:
    """A field's whole number.

    Raises:
        ValueError: it is not one, or out of bounds.
    """
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ValueError(f"{name} should be a whole number from {low} to {high}, not {text!r}")
    return value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").strip()


def _lines(value: bytes) -> list[str]:
    lines = value.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]
