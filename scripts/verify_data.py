"""Check that the downloaded files are those that were unpacked first.

Reads the manifests and every file that they list; writes nothing.
"""

from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.logs import logger, step_log
from vertseg.dataset.verse import verify

with step_log(snakemake.log[0]):
    manifests = [Path(path) for path in snakemake.input]
    if not manifests:
        raise UserError("verify_data checks downloaded data; this configuration downloads none.")
    for manifest in manifests:
        number = verify(manifest, manifest.with_suffix(""))
        logger.info("%s: %d files are as downloaded.", manifest, number)
