"""One style for all figures, and files that are the same in every run."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from vertseg.core.files import atomic_path

PAGE_WIDTH_INCH = 7.2
PNG_DPI = 300

INK = "#222222"
FAINT = "#bbbbbb"

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "vertseg",
}

_UNDATED = {
    ".pdf": {"CreationDate": None, "ModDate": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}


def use_style() -> None:
    """Make matplotlib draw off screen and in the project's style."""
    mpl.use("Agg")
    mpl.rcParams.update(STYLE)


def save_figure(
    figure: Figure, paths: Iterable[str | os.PathLike[str]], dpi: float = PNG_DPI
) -> None:
    """Write a figure in the formats that the paths name (pdf, png, svg), atomically, undated."""
    for path in map(Path, paths):
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=dpi, metadata=_UNDATED[path.suffix])


def quality_colours() -> Colormap:
    """Cividis without its palest end, which white paper swallows: dark is bad, light is good."""
    whole = colormaps["cividis"]
    return ListedColormap([whole(i / 255) for i in range(0, 225)], name="quality")
