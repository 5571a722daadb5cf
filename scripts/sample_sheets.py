"""Write the lists of scans and of their folds.

Reads nothing, but for downloaded VerSe data looks which centroid files there are; writes
samples.tsv (scan, subject, ct, mask, centroids) and folds.tsv (scan, subject, fold).
"""

from vertseg.logs import step_log
from vertseg.samples import Sample, with_centroids, write_samples, write_tsv


def main(samples: list[Sample], fold_of: dict[str, int], sheet: str, folds_sheet: str) -> None:
    """Write both sheets."""
    write_samples(sheet, samples)
    folds = [(sample.scan, sample.subject, fold_of[sample.scan]) for sample in samples]
    write_tsv(folds_sheet, ["scan", "subject", "fold"], folds)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        samples = [Sample(**row) for row in snakemake.params.samples]
        main(
            [with_centroids(sample) for sample in samples]
            if snakemake.params.find_centroids
            else samples,
            snakemake.params.fold_of,
            snakemake.output.samples,
            snakemake.output.folds,
        )
