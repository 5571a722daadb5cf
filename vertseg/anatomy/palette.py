"""Display colours of vertebrae, and a palette for the colour-blind."""

from vertseg.anatomy.labels import CRANIOCAUDAL

OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
"""Okabe and Ito's palette for the colour-blind, without black, neighbours far apart."""

REACH = 7
"""Places along the spine within which no two colours look alike: six levels, and T13 if there."""

_COLOURS = (
    *("#00A52D", "#2D78FF", "#00785A", "#D2E10F", "#B46987", "#E1B487", "#87FFC3"),
    *("#9678C3", "#A5961E", "#965A0F", "#1EC3C3", "#3C69A5", "#FFE10F", "#C30069"),
    *("#B4E1A5", "#5A875A", "#D269FF", "#F04B00", "#2D96B4", "#2D5AF0", "#D2C3FF"),
    *("#A54B96", "#A5E15A", "#B4875A", "#B43C4B", "#FF5AF0"),
)
"""A colour for each vertebra from C1 to L6.

Found by annealing: the least difference (CIEDE2000) of two colours within `REACH` is as large as
possible, for normal sight and for the three kinds of colour blindness.
"""

_COLOUR_OF = dict(zip(CRANIOCAUDAL, _COLOURS, strict=True))


def label_colour(label: int) -> str:
    """Display colour of a vertebra; no two of them share one."""
    return _COLOUR_OF[label]
