"""Write the lists of scans and of their folds.

Reads nothing; writes samples.tsv (scan, subject, ct, mask, centroids) and folds.tsv (scan,
subject, fold).
"""

from snakemake.script import snakemake

from vertseg.logs import step_log
from vertseg.samples import Sample, write_samples, write_tsv


def main(samples: list[Sample], fold_of: dict[str, int], sheet: str, folds_sheet: str) -> None:
    """Write both sheets."""
    write_samples(sheet, samples)
    folds = [(sample.scan, sample.subject, fold_of[sample.scan]) for sample in samples]
    write_tsv(folds_sheet, ["scan", "subject", "fold"], folds)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            [Sample(**row) for row in snakemake.params.samples],
            snakemake.params.fold_of,
            snakemake.output.samples,
            snakemake.output.folds,
        )
