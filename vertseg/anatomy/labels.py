"""VerSe's label scheme: names, anatomical order, regions and display colours.

0 background; 1-7 C1-C7; 8-19 T1-T12; 20-25 L1-L6; 26 sacrum and 27 coccyx (part of the scheme,
never annotated); 28 T13. Networks have one output channel per value: 29.
"""

from typing import Literal

Region = Literal["cervical", "thoracic", "lumbar"]

BACKGROUND = 0
NUM_CLASSES = 29

NAMES: dict[int, str] = (
    {i: f"C{i}" for i in range(1, 8)}
    | {7 + i: f"T{i}" for i in range(1, 13)}
    | {19 + i: f"L{i}" for i in range(1, 7)}
    | {28: "T13"}
)
IDS: dict[str, int] = {name: label for label, name in NAMES.items()}

UNANNOTATED: dict[int, str] = {26: "sacrum", 27: "coccyx"}
"""Values of the scheme that VerSe never annotates."""

SACRUM = 26
"""The sacrum's value."""

VERTEBRAE: tuple[int, ...] = tuple(sorted(NAMES))
"""The 26 annotated values, in numerical order."""

CRANIOCAUDAL: tuple[int, ...] = (*range(1, 20), IDS["T13"], *range(20, 26))
"""The 26 annotated values from C1 down to L6, T13 between T12 and L1."""

RANK: dict[int, int] = {label: rank for rank, label in enumerate(CRANIOCAUDAL)}
"""Position of a label along the spine: 0 for C1, counted downwards."""

_REGIONS: dict[str, Region] = {"C": "cervical", "T": "thoracic", "L": "lumbar"}


def region(label: int) -> Region:
    """Spine region of a vertebra's label value.

    Raises:
        KeyError: the value names no vertebra.
    """
    return _REGIONS[NAMES[label][0]]
