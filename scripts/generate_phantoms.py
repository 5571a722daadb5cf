"""Generate the embedded data set: phantom CT scans of the spine with their labels.

Reads nothing; writes CT, mask, centroids and ground truth of every scan in VerSe's layout.
"""

from pathlib import Path

from vertseg.core.logs import logger, step_log
from vertseg.phantom import preset, write_phantom_dataset


def main(root: str, scans: list[str], seed: int, settings_name: str, workers: int) -> None:
    """Write the scans below `root`."""
    write_phantom_dataset(Path(root), scans, seed, preset(settings_name), workers)
    logger.info("%d phantoms of preset %s, seed %d -> %s", len(scans), settings_name, seed, root)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.output[0],
            list(snakemake.params.scans),
            snakemake.params.seed,
            snakemake.params.preset,
            snakemake.threads,
        )
