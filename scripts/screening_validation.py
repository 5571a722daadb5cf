"""Compare screening measures with the phantom's truth, in reference or in predicted masks.

Reads the sample sheet, the phantoms with their descriptions, and folders of predicted masks; where
there are none the reference masks are measured. Writes a row for each vertebra, a table of bias and
limits of agreement, a table of grades (CSV) and the Bland-Altman figure (PDF, PNG).
"""

from pathlib import Path

from vertseg.core.logs import logger, step_log
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import write_csv
from vertseg.evaluation.screening import agreement, compare_scans, grade_counts
from vertseg.figures.bland_altman import draw_bland_altman
from vertseg.figures.style import save_figure

with step_log(snakemake.log[0]):
    samples = read_samples(snakemake.input.samples)
    predictions = [Path(folder) for folder in snakemake.input.get("predictions", [])]
    vertebrae = compare_scans(samples, predictions, snakemake.params.drawn_on, snakemake.threads)
    limits = agreement(vertebrae)
    write_csv(vertebrae, snakemake.output.vertebrae)
    write_csv(limits, snakemake.output.agreement)
    write_csv(grade_counts(vertebrae), snakemake.output.grades)
    figure = draw_bland_altman(vertebrae, snakemake.params.title)
    save_figure(figure, snakemake.output.figures)
    logger.info("%s", limits.to_string(index=False, float_format="%.2f"))
