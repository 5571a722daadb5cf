"""Unpack an archive of VerSe and record the SHA-256 of every file.

Reads the archive; writes the split's folder (rawdata/, derivatives/) whole or not at all, and the
manifest. Where a manifest of an earlier download exists, the files must agree with it.
"""

from functools import partial
from pathlib import Path

from vertseg.core.logs import logger, step_log
from vertseg.dataset.archives import extract
from vertseg.dataset.verse import check_same_as_before, write_manifest


def main(archive: Path, folder: Path, manifest: Path) -> None:
    """Unpack the archive into the folder."""
    hashes = extract(archive, folder, accept=partial(check_same_as_before, manifest))
    write_manifest(manifest, hashes)
    logger.info("%d files of %s -> %s", len(hashes), archive, folder)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            Path(snakemake.input.archive),
            Path(snakemake.output.scans),
            Path(snakemake.output.manifest),
        )
