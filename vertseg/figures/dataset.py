"""The data set at a glance: number of scans with each vertebra, range of each scan."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, NAMES, RANK
from vertseg.anatomy.palette import OKABE_ITO
from vertseg.figures.style import INK, PAGE_WIDTH_INCH, use_style

HEIGHT_INCH = 3.6
WHOLE, CUT = OKABE_ITO[0], OKABE_ITO[4]


def count_labels(audit: pd.DataFrame) -> pd.DataFrame:
    """Number of scans with each vertebra, from C1 downwards.

    Args:
        audit: table from `audit`, with names of vertebrae in its columns labels and cut_by_border.

    Returns:
        Columns whole and cut (by the scan's border), a row for each of the 26 names.
    """
    names = [NAMES[label] for label in CRANIOCAUDAL]
    held, cut = (
        audit[column].fillna("").str.split().explode().value_counts().reindex(names, fill_value=0)
        for column in ("labels", "cut_by_border")
    )
    return pd.DataFrame({"whole": held - cut, "cut": cut})


def covered_ranges(audit: pd.DataFrame) -> np.ndarray:
    """Ranks (first, last) of the outermost vertebrae of each labelled scan, the highest first."""
    ranks = [[RANK[IDS[name]] for name in labels.split()] for labels in audit["labels"].fillna("")]
    return np.array(sorted((min(own), max(own)) for own in ranks if own)).reshape(-1, 2)


def draw_dataset(audit: pd.DataFrame) -> Figure:
    """Draw bars of vertebrae beside lines of scans.

    Args:
        audit: table from `audit`.
    """
    use_style()
    figure, (bars, lines) = plt.subplots(
        1, 2, sharey=True, figsize=(PAGE_WIDTH_INCH, HEIGHT_INCH), layout="constrained"
    )
    _draw_counts(bars, count_labels(audit))
    _draw_ranges(lines, covered_ranges(audit))
    names = [NAMES[label] for label in CRANIOCAUDAL]
    bars.set_yticks(range(len(names)), names)
    bars.set_ylim(len(names) - 0.4, -0.6)
    return figure


def _draw_counts(axes: Axes, counts: pd.DataFrame) -> None:
    ranks = np.arange(len(counts))
    axes.barh(ranks, counts["whole"], color=WHOLE, label="whole")
    axes.barh(ranks, counts["cut"], left=counts["whole"], color=CUT, label="cut by the border")
    axes.set(xlabel="scans", title="Labelled vertebrae")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2, borderaxespad=0)


def _draw_ranges(axes: Axes, ranges: np.ndarray) -> None:
    places = np.arange(1, len(ranges) + 1)
    ends = ranges + np.array([-0.35, 0.35])
    segments = [[(x, top), (x, bottom)] for x, (top, bottom) in zip(places, ends, strict=True)]
    width_point = PAGE_WIDTH_INCH * 72 * 0.4 / max(len(ranges), 1)
    axes.add_collection(
        LineCollection(segments, colors=INK, linewidths=min(0.7 * width_point, 4.0))
    )
    axes.set_xlim(0, len(ranges) + 1)
    axes.set(xlabel="scans, by their first vertebra", title="Fields of view")
