"""What is stated of a network, in the model's card and in its MONAI bundle.

The card is Markdown, written by hand but for its first table, which `card_with_facts` makes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vertseg.anatomy.labels import NAMES, UNANNOTATED
from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256
from vertseg.core.notice import LICENCE
from vertseg.segmentation.grid import WINDOW_HU
from vertseg.segmentation.settings import FormatName

_TABLE = re.compile(r"^\| \| \|\n(?:\|.*\n)+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def described_network(trained: Mapping[str, Any]) -> str:
    """Kind and size of a network.

    Args:
        trained: the network's metadata.
    """
    return f"{trained['network']}, {trained['parameters']:,} parameters"


def described_input(trained: Mapping[str, Any]) -> str:
    """The images that a network takes.

    Args:
        trained: the network's metadata.
    """
    low, high = WINDOW_HU
    grid = trained["settings"]["grid"]
    cells = (
        f"cells of {grid['spacing_mm']:g} mm"
        if isinstance(grid, Mapping)
        else f"{' x '.join(map(str, grid))} cells, onto which every scan is stretched"
    )
    return f"CT, {low:g} to {high:g} HU mapped to -1 to 1 and clipped, in {cells}"


def described_output(trained: Mapping[str, Any]) -> str:
    """The channels that a network gives.

    Args:
        trained: the network's metadata.
    """
    sacrum = "knows" if trained.get("sacrum") else "does not know"
    others = trained.get("auxiliary", [])
    beside = f" and the outputs {' and '.join(f'`{name}`' for name in others)}" if others else ""
    return (
        f"{trained['num_classes']} classes (VerSe's labels, of which it {sacrum} the sacrum)"
        f"{beside}"
    )


def class_names(trained: Mapping[str, Any]) -> dict[int, str]:
    """Name of each class by its value, which is VerSe's.

    Args:
        trained: the network's metadata.
    """
    names = {0: "background", **NAMES, **UNANNOTATED}
    return {value: names[value] for value in range(trained["num_classes"])}


def card_with_facts(card: str, files: Mapping[FormatName, Path], trained: Mapping[str, Any]) -> str:
    """A card's text whose first table states what the files of the model are.

    Args:
        card: the text.
        files: the model's files by the library that runs them.
        trained: the network's metadata.

    Raises:
        UserError: the card has no table with an empty head.
    """
    rows = {
        "network": described_network(trained),
        "input": described_input(trained),
        "output": described_output(trained),
        **{f"SHA-256 of `{file.name}`": f"`{file_sha256(file)}`" for file in files.values()},
        "licence": LICENCE,
    }
    table = "| | |\n|---|---|\n" + "".join(f"| {key} | {value} |\n" for key, value in rows.items())
    if not _TABLE.search(card):
        raise UserError("The model's card has no table that begins with `| | |`.")
    return _TABLE.sub(lambda _: table, card, count=1)


def card_section(card: str, heading: str) -> str:
    """First paragraph of a card's section, on one line, with the words of its links alone.

    Args:
        card: the text.
        heading: of the section.

    Raises:
        UserError: the card has no such section.
    """
    found = re.search(rf"^## {re.escape(heading)}\n\n(.+?)\n\n", card, re.MULTILINE | re.DOTALL)
    if not found:
        raise UserError(f"The model's card has no section {heading!r}.")
    return _LINK.sub(r"\1", " ".join(found[1].split()))
