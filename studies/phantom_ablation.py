"""By which structures does a network trained on phantoms name vertebrae?

    python -m studies.phantom_ablation WEIGHTS.safetensors [--preset demo] [--scans 40]

Generates held-out phantoms, whole and without each of several structures, and prints a row for
each: identification rate and multi-label Dice. A rate that collapses without one structure shows
that it alone carries the labels.
"""

import argparse
from dataclasses import replace

import numpy as np

from vertseg.anatomy.centroids import body_centres
from vertseg.evaluation.metrics import confusion, identification, multi_label_dice
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.segment import segment_ct

FIRST_HELD_OUT_SEED = 1_000_000
ABLATIONS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"lungs"}),
    frozenset({"ribs"}),
    frozenset({"organs", "vessels"}),
    frozenset({"skull"}),
    frozenset({"shoulders"}),
    frozenset({"pelvis"}),
    frozenset({"lungs", "organs", "vessels"}),
)


def score(model: Model, phantom: Phantom) -> tuple[int, int, float]:
    """Identified and annotated vertebrae, and multi-label Dice, of one scan."""
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    # The network's own labels: put in order they would follow from more than what it sees.
    mask = segment_ct(model, ct, "argmax").mask
    found = identification(phantom.centroids_mm, body_centres(mask, phantom.affine))
    dice = multi_label_dice(confusion(phantom.mask, mask))
    return sum(found.hits.values()), len(found.hits), dice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="a trained network's weights (safetensors)")
    parser.add_argument("--preset", default="demo", help="phantoms, as in training")
    parser.add_argument("--scans", type=int, default=40)
    options = parser.parse_args()
    model = load_model(options.weights)
    print(f"{'omitted':24s} id. rate  Dice")
    for omitted in ABLATIONS:
        settings = replace(preset(options.preset), omit=omitted)
        seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + options.scans)
        scores = [score(model, generate_phantom(seed, settings)) for seed in seeds]
        hits, vertebrae, dice = np.array(scores).T
        name = ", ".join(sorted(omitted)) or "nothing"
        print(f"{name:24s} {hits.sum() / vertebrae.sum():8.3f} {dice.mean():5.3f}", flush=True)


if __name__ == "__main__":
    main()
