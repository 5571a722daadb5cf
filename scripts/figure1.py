"""Draw Figure 1: localisation panels of all methods and an example segmentation.

Reads the evaluation's CSVs and the predictions of one fold and all methods, and the sample sheet
with the CT and the reference of the example; writes figure1.{pdf,png,svg}.
"""

from collections.abc import Sequence
from pathlib import Path

from vertseg.anatomy.schemes import read_scheme
from vertseg.core.logs import logger, step_log
from vertseg.dataset.layout import mask_path
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import Methods, read_evaluation
from vertseg.figures.example import spine_views
from vertseg.figures.figure1 import choose_example, draw_figure1
from vertseg.figures.style import save_figure
from vertseg.scans.nifti import load_ct, load_mask


def main(
    labels: Sequence[str],
    scans: Sequence[str],
    samples: str,
    predictions: Sequence[str],
    methods: Methods,
    targets: Sequence[str],
) -> None:
    """Choose the example and draw the figure."""
    scan_table = read_evaluation(scans)
    example = choose_example(scan_table)
    logger.info("Example: %s", example)
    sample = next(sample for sample in read_samples(samples) if sample.scan == example.scan)
    folder_of = {Path(folder).parent.name: Path(folder) for folder in predictions}
    ct = load_ct(sample.ct)
    predicted = load_mask(mask_path(folder_of[example.method], example.scan), ct.native)
    reference = load_mask(sample.mask, ct.native, read_scheme(sample.labels))
    views = spine_views(ct, predicted.array, reference.array)
    titles = {key: method["label"] for key, method in methods.items()}
    figure = draw_figure1(read_evaluation(labels), scan_table, titles, example, views)
    save_figure(figure, targets)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.input.labels,
            snakemake.input.scans,
            snakemake.input.samples,
            snakemake.input.predictions,
            snakemake.params.methods,
            list(snakemake.output),
        )
