"""Write the list of scans.

Reads nothing but, for downloaded VerSe data, the names of the centroid files; writes samples.tsv
(scan, subject, ct, mask, centroids, labels).
"""

from vertseg.core.logs import step_log
from vertseg.dataset.samples import listed_samples, write_samples

with step_log(snakemake.log[0]):
    write_samples(snakemake.output[0], listed_samples(**snakemake.params.listed))
