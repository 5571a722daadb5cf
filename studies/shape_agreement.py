"""How well does the measured shape of phantoms' spines agree with the truth?

    python -m studies.shape_agreement FIGURE
    python -m studies.shape_agreement FIGURE --model vertseg/models/vertseg-phantom.onnx

Generates phantoms, measures them in their reference masks or in those of a model, prints a Markdown
table of agreement and writes the Bland-Altman figure (PDF, PNG).
"""

import argparse
from dataclasses import replace

import pandas as pd

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import NAMES
from vertseg.core.parallel import run_jobs
from vertseg.evaluation.screening import found_labels
from vertseg.evaluation.shape import compare_shape, shape_agreement
from vertseg.figures.shape_agreement import draw_shape_agreement
from vertseg.figures.style import save_figure
from vertseg.phantom import generate_phantom, preset, scan_seed
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import measure_spine
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import OWN_SCANS_DECODING


def compare(number: int, seed: int, model_path: str | None) -> list[dict]:
    """Rows of `compare_shape` of one phantom."""
    settings = replace(preset("full"), slip_share=0.25)
    phantom = generate_phantom(scan_seed(seed, f"phantom{number}"), settings)
    geometry = Geometry(phantom.ct.shape, phantom.affine)
    ct = Volume(phantom.ct, phantom.affine, geometry)
    mask, cell_mm, found = phantom.mask, 0.0, None
    if model_path:
        segmented = segment_ct(load_model(model_path, 1), ct, OWN_SCANS_DECODING)
        mask, cell_mm = segmented.mask, segmented.spine.cell_mm
        labels = found_labels(phantom.centroids_mm, body_centres(mask, ct.affine))
        found = [NAMES[label] for label in labels]
    shape = measure_spine(ct, mask, cell_mm=cell_mm).shape
    return compare_shape(f"phantom{number}", phantom.truth, shape, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", help="path without suffix")
    parser.add_argument("--model", help="model whose masks are measured (default: references)")
    parser.add_argument("--scans", type=int, default=72)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    jobs = [(number, options.seed, options.model) for number in range(1, options.scans + 1)]
    rows = run_jobs(compare, jobs, options.processes, "phantoms")
    table = pd.DataFrame([row for scan in rows for row in scan])
    title = (
        f"Phantoms, masks predicted by {options.model}"
        if options.model
        else ("Phantoms, reference masks")
    )
    save_figure(
        draw_shape_agreement(table, title), [f"{options.figure}.pdf", f"{options.figure}.png"]
    )
    print("| quantity | values | scans | true mean (SD) | bias | limits of agreement |")
    print("|---|---:|---:|---|---:|---|")
    for row in shape_agreement(table).itertuples():
        print(
            f"| {row.quantity} | {row.values} | {row.scans} | {row.true_mean:.1f} "
            f"({row.true_sd:.1f}) | {row.bias:+.2f} | {row.lower_limit:+.1f} to "
            f"{row.upper_limit:+.1f} |"
        )


if __name__ == "__main__":
    main()
