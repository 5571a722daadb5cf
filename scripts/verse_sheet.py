"""Propose a new resources/{release}.tsv: its rows of one split as the archive has them.

Reads the archive's directory and the committed sheet, if there is one; writes the whole sheet
(scan, subject, split) for a person to look at and commit.
"""

from pathlib import Path

import vertseg
from vertseg.core.logs import step_log
from vertseg.core.tsv import write_tsv
from vertseg.dataset.archives import members, open_archive
from vertseg.dataset.verse import SHEET_COLUMNS, archived_scans, updated_sheet

RESOURCES = Path(vertseg.__file__).parents[1] / "resources"


def main(archive: Path, sheet: Path, split: str, output: str) -> None:
    """Write the proposed sheet."""
    with open_archive(archive) as opened:
        scans = archived_scans(members(opened))
    write_tsv(output, SHEET_COLUMNS, updated_sheet(sheet, split, scans))


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            Path(snakemake.input[0]),
            RESOURCES / f"{snakemake.wildcards.release}.tsv",
            snakemake.wildcards.split,
            snakemake.output[0],
        )
