"""Draw the data set: how often each vertebra occurs, and the field of view of each scan.

Reads audit.tsv; writes dataset.{pdf,png}.
"""

import pandas as pd

from vertseg.core.logs import step_log
from vertseg.figures.dataset import draw_dataset
from vertseg.figures.style import save_figure

with step_log(snakemake.log[0]):
    audit = pd.read_csv(snakemake.input[0], sep="\t", dtype=str)
    save_figure(draw_dataset(audit), snakemake.output)
