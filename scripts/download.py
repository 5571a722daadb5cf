"""Download an archive of VerSe.

Reads resources/verse.yaml and data.urls of the configuration; writes the zip archive. What has
arrived of it waits in a .part file beside it and is used by the next start.
"""

from pathlib import Path

import vertseg
from vertseg.core.logs import step_log
from vertseg.dataset.archives import check_archive
from vertseg.dataset.download import fetch
from vertseg.dataset.verse import Source, read_source

RESOURCES = Path(vertseg.__file__).parents[1] / "resources"


def main(source: Source, archive: Path) -> None:
    """Download the archive, with room left to unpack it beside."""
    fetch(source.urls, archive, check_archive, expected_bytes=source.expected_bytes, copies=2)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            read_source(
                RESOURCES / "verse.yaml",
                snakemake.wildcards.release,
                snakemake.wildcards.split,
                snakemake.config["data"].get("urls", {}),
            ),
            Path(snakemake.output[0]),
        )
