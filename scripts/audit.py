"""Look at all labelled scans before anything is computed from them.

Reads the sample sheet and all CTs, masks and centroids that it names; writes audit.tsv, a row a
scan. Scans that cannot be used are all named at once, and the run stops.
"""

from vertseg.core.files import atomic_path
from vertseg.core.logs import logger, step_log
from vertseg.dataset.audit import audit, check_audit
from vertseg.dataset.samples import read_samples


def main(sheet: str, target: str, processes: int) -> None:
    """Audit the scans of a sheet."""
    table = audit(read_samples(sheet), processes)
    check_audit(table)
    with atomic_path(target) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
    logger.info("%d scans, %d with warnings", len(table), (table["warnings"] != "").sum())


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(snakemake.input.samples, snakemake.output[0], snakemake.threads)
