"""How good is a model on held-out phantoms, by field of view and enumeration, and on other scans?

    python -m studies.model_metrics MODEL results/model [--fold 0] [--masks FOLDER]
    python -m studies.model_metrics MODEL --scan CT MASK CENTROIDS [--decoding spine]

Segments as `vertseg predict` does. Prints a Markdown table of means over scans, measured on each
scan's own grid.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from vertseg.anatomy.centroids import body_centres, read_centroids
from vertseg.core.progress import progress
from vertseg.dataset.folds import read_folds
from vertseg.dataset.layout import mask_path, phantom_truth_path
from vertseg.dataset.samples import Sample, read_samples
from vertseg.evaluation import metrics
from vertseg.scans.nifti import load_ct, load_mask, save_mask
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import DECODINGS, OWN_SCANS_DECODING, Decoding

COLUMNS = ("multi-label Dice", "binary Dice", "id. rate", "id. precision", "loc. error, mm",
           "all labels right")  # fmt: skip


def measure(
    model: Model,
    decoding: Decoding,
    ct_path: str,
    reference_path: str,
    centroids_path: str,
    target: Path | None = None,
) -> list[float]:
    """The values of `COLUMNS` for one scan; its label map is written to `target`, if given."""
    ct = load_ct(ct_path)
    reference = load_mask(reference_path, ct.native).array
    annotated = read_centroids(centroids_path, ct.native.affine)
    predicted = segment_ct(model, ct, decoding).mask
    if target:
        save_mask(target, predicted, ct.native)
    centres = body_centres(predicted, ct.affine)
    confusion = metrics.confusion(reference, predicted)
    found = metrics.identification(annotated, centres)
    offsets = metrics.label_offsets(annotated, centres)
    right = metrics.common_shift(offsets, len(annotated)) == 0 and len(offsets) == len(annotated)
    return [
        metrics.multi_label_dice(confusion),
        metrics.binary_dice(confusion),
        found.rate,
        found.precision,
        found.localisation_error_mm,
        float(right),
    ]


def groups(sample: Sample) -> tuple[str, str]:
    """Field of view and enumeration of a phantom."""
    truth = json.loads(phantom_truth_path(sample.mask).read_text())
    return truth["field_of_view"]["kind"], truth["variant"] or "usual spine"


def print_row(title: str, values: list[list[float]]) -> None:
    means = np.nanmean(np.array(values), axis=0)
    print(f"| {title} | {len(values)} |", " | ".join(f"{mean:.3f}" for mean in means), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("results", type=Path, nargs="?", help="folder of a run on phantoms")
    parser.add_argument("--fold", help="the fold that the model did not see, if it saw others")
    parser.add_argument("--masks", type=Path, help="folder to keep the phantoms' label maps in")
    parser.add_argument("--scan", nargs=3, metavar=("CT", "MASK", "CENTROIDS"))
    parser.add_argument("--decoding", choices=DECODINGS, default=OWN_SCANS_DECODING)
    options = parser.parse_args()
    model = load_model(options.model)
    print("| scans | n |", " | ".join(COLUMNS), "|")
    print("|---|---:|" + "---:|" * len(COLUMNS))
    if options.masks:
        options.masks.mkdir(parents=True, exist_ok=True)
    if options.results:
        fold_of = read_folds(options.results / "folds.tsv")
        held_out = [
            sample
            for sample in read_samples(options.results / "samples.tsv")
            if options.fold in (None, fold_of[sample.scan])
        ]
        by_view, by_variant = defaultdict(list), defaultdict(list)
        for sample in progress(held_out, "predicting"):
            target = options.masks and mask_path(options.masks, sample.scan)
            values = measure(
                model, options.decoding, sample.ct, sample.mask, sample.centroids, target
            )
            view, variant = groups(sample)
            by_view[view].append(values)
            by_variant[variant].append(values)
        for title, values in (*sorted(by_view.items()), *sorted(by_variant.items())):
            print_row(title, values)
        print_row("all phantoms", [values for view in by_view.values() for values in view])
    if options.scan:
        print_row(Path(options.scan[0]).name, [measure(model, options.decoding, *options.scan)])


if __name__ == "__main__":
    main()
