"""Draw the data set: how often each vertebra occurs, and what each scan covers.

Reads audit.tsv; writes dataset.{pdf,png}.
"""

from collections.abc import Sequence

import pandas as pd

from vertseg.core.logs import step_log
from vertseg.figures.dataset import draw_dataset
from vertseg.figures.style import save_figure


def main(audit: str, targets: Sequence[str]) -> None:
    """Draw the figure."""
    save_figure(draw_dataset(pd.read_csv(audit, sep="\t", dtype=str)), targets)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(snakemake.input[0], snakemake.output)
