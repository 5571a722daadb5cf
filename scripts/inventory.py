"""Compare an archive of VerSe with the committed sheet; a difference is an error.

Reads the archive's directory and resources/{release}.tsv; writes the list of the archive's scans
(scan, subject, ct, mask, centroids: paths below the data set's folder).
"""

from dataclasses import astuple, fields
from pathlib import Path

import vertseg
from vertseg.core.logs import logger, step_log
from vertseg.core.tsv import write_tsv
from vertseg.dataset.archives import members, open_archive
from vertseg.dataset.verse import ArchivedScan, archived_scans, check_inventory

RESOURCES = Path(vertseg.__file__).parents[1] / "resources"


def main(archive: Path, sheet: Path, split: str, output: str) -> None:
    """Check the archive and write what it holds."""
    with open_archive(archive) as opened:
        scans = archived_scans(members(opened))
    check_inventory(str(archive), sheet, split, scans)
    without = [scan.scan for scan in scans if not scan.centroids]
    if without:
        logger.warning(
            "%s: no centroids for %s; they will be computed from the masks.",
            archive,
            ", ".join(without),
        )
    write_tsv(output, [field.name for field in fields(ArchivedScan)], map(astuple, scans))
    logger.info("%s: %d scans, as %s lists them.", archive, len(scans), sheet)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            Path(snakemake.input[0]),
            RESOURCES / f"{snakemake.wildcards.release}.tsv",
            snakemake.wildcards.split,
            snakemake.output[0],
        )
