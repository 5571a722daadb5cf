"""Audit all labelled scans before anything is learned from them.

Reads all CTs, masks and centroids; writes audit.tsv, a row a scan. The run stops if scans cannot be
used, with a message that names all of them.
"""

from vertseg.core.files import atomic_path
from vertseg.core.logs import logger, step_log
from vertseg.dataset.audit import audit, check_audit
from vertseg.dataset.samples import listed_samples

with step_log(snakemake.log[0]):
    table = audit(listed_samples(**snakemake.params.listed), snakemake.threads)
    check_audit(table)
    with atomic_path(snakemake.output[0]) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
    logger.info("%d scans, %d with warnings", len(table), (table["warnings"] != "").sum())
