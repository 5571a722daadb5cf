"""Compare screening measures with the phantom's truth, in reference or in predicted masks.

Reads the sample sheet, the phantoms with their descriptions, and folders of predicted masks (none:
the reference masks are measured); writes a row for each vertebra, a table of bias and limits of
agreement, a table of grades (CSV) and the Bland-Altman figure (PDF, PNG).
"""

from pathlib import Path

from vertseg.core.logs import logger, step_log
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import write_csv
from vertseg.evaluation.screening import agreement, compare_scans, grade_counts
from vertseg.figures.bland_altman import draw_bland_altman
from vertseg.figures.style import save_figure
from vertseg.segmentation.grid import GridSpec


def main(
    samples: str,
    predictions: list[str],
    drawn_on: GridSpec | None,
    title: str,
    vertebrae_csv: str,
    agreement_csv: str,
    grades_csv: str,
    figures: list[str],
    processes: int,
) -> None:
    """Compare all scans."""
    folders = [Path(folder) for folder in predictions]
    table = compare_scans(read_samples(samples), folders, drawn_on, processes)
    limits = agreement(table)
    write_csv(table, vertebrae_csv)
    write_csv(limits, agreement_csv)
    write_csv(grade_counts(table), grades_csv)
    save_figure(draw_bland_altman(table, title), figures)
    logger.info("%s", limits.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.input.samples,
            snakemake.input.get("predictions", []),
            snakemake.params.drawn_on,
            snakemake.params.title,
            snakemake.output.vertebrae,
            snakemake.output.agreement,
            snakemake.output.grades,
            snakemake.output.figures,
            snakemake.threads,
        )
