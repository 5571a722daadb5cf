"""Show a table of results as a page.

Reads a CSV or TSV; writes an HTML file that needs nothing else.
"""

from pathlib import Path

import pandas as pd

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.evaluation.pages import table_page


def main(source: Path, title: str, target: str) -> None:
    """Write the page."""
    table = pd.read_csv(source, sep="\t" if source.suffix == ".tsv" else ",")
    write_text(target, table_page(table, title))


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(Path(snakemake.input[0]), snakemake.params.title, snakemake.output[0])
