"""Draw Figure 1: localisation panels of all methods and an example segmentation.

Reads the evaluation's CSVs and the predictions of one fold and all methods, and the sample sheet
with the CT and the reference of the example; writes figure1.{pdf,png,svg}.
"""

from pathlib import Path

from vertseg.anatomy.schemes import read_scheme
from vertseg.core.logs import logger, step_log
from vertseg.dataset.layout import mask_path
from vertseg.dataset.samples import read_samples
from vertseg.evaluation.files import read_evaluation
from vertseg.figures.example import spine_views
from vertseg.figures.figure1 import choose_example, draw_figure1
from vertseg.figures.style import save_figure
from vertseg.scans.nifti import load_ct, load_mask

with step_log(snakemake.log[0]):
    scans = read_evaluation(snakemake.input.scans)
    labels = read_evaluation(snakemake.input.labels)
    titles = {key: method["label"] for key, method in snakemake.params.methods.items()}

    example = choose_example(scans)
    logger.info("Example: %s", example)
    [sample] = [s for s in read_samples(snakemake.input.samples) if s.scan == example.scan]
    folder_of = {Path(folder).parent.name: Path(folder) for folder in snakemake.input.predictions}
    ct = load_ct(sample.ct)
    predicted = load_mask(mask_path(folder_of[example.method], example.scan), ct.native)
    reference = load_mask(sample.mask, ct.native, read_scheme(sample.labels))
    views = spine_views(ct, predicted.array, reference.array)

    save_figure(draw_figure1(labels, scans, titles, example, views), snakemake.output)
