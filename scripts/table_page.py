"""Show a table of results as a page.

Reads a CSV or TSV; writes an HTML file that needs nothing else.
"""

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.evaluation.files import read_table
from vertseg.evaluation.pages import table_page

with step_log(snakemake.log[0]):
    table = read_table(snakemake.input[0])
    write_text(snakemake.output[0], table_page(table, snakemake.params.title))
