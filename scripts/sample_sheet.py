"""Write the list of scans.

Reads nothing but, for downloaded VerSe data, the names of the centroid files; writes samples.tsv
(scan, subject, ct, mask, centroids, labels).
"""

from vertseg.core.logs import step_log
from vertseg.dataset.samples import Sample, with_centroids, write_samples

with step_log(snakemake.log[0]):
    samples = [Sample(**row) for row in snakemake.params.samples]
    if snakemake.params.find_centroids:
        samples = [with_centroids(sample) for sample in samples]
    write_samples(snakemake.output[0], samples)
