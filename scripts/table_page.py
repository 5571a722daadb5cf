"""Show a table of results as a page.

Reads a CSV or TSV; writes an HTML file that needs nothing else.
"""

import pandas as pd

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.evaluation.pages import table_page

with step_log(snakemake.log[0]):
    source = snakemake.input[0]
    table = pd.read_csv(source, sep="\t" if source.endswith(".tsv") else ",")
    write_text(snakemake.output[0], table_page(table, snakemake.params.title))
