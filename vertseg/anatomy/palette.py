"""Display colours of vertebrae."""

from vertseg.anatomy.labels import RANK

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


def label_colour(label: int) -> str:
    """Display colour of a vertebra: neighbours along the spine never share one."""
    return OKABE_ITO[RANK[label] % len(OKABE_ITO)]
