"""What does a network trained on phantoms name vertebrae by?

Generates held-out phantoms, once as they are and once without each of several structures, and
prints identification rate and multi-label Dice for each. A rate that collapses without one
structure shows that it alone carries the labels.

    python -m studies.phantom_ablation WEIGHTS.safetensors
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from vertseg.anatomy.centroids import body_centres
from vertseg.evaluation.metrics import confusion, identification, multi_label_dice
from vertseg.networks.weights import load_network
from vertseg.phantom import Phantom, PhantomSettings, generate_phantom, preset
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.inference import segment_volume

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


def score(network: nn.Module, phantom: Phantom, trained: dict[str, Any]) -> tuple[int, int, float]:
    """Identified and annotated vertebrae, and multi-label Dice, of one scan."""
    volume = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    mask = segment_volume(network, volume, trained)
    found = identification(phantom.centroids_mm, body_centres(mask, phantom.affine))
    dice = multi_label_dice(confusion(phantom.mask, mask))
    return sum(found.hits.values()), len(found.hits), dice


def ablate(
    network: nn.Module, settings: PhantomSettings, scans: int, trained: dict[str, Any]
) -> None:
    """Print a row for each ablation."""
    print(f"{'omitted':24s} id. rate  Dice")
    for omitted in ABLATIONS:
        ablated = replace(settings, omit=omitted)
        seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + scans)
        scores = [score(network, generate_phantom(seed, ablated), trained) for seed in seeds]
        hits, vertebrae, dice = np.array(scores).T
        name = ", ".join(sorted(omitted)) or "nothing"
        print(f"{name:24s} {hits.sum() / vertebrae.sum():8.3f} {dice.mean():5.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="a trained network's weights (safetensors)")
    parser.add_argument("--preset", default="demo", help="phantoms, as in training")
    parser.add_argument("--scans", type=int, default=40)
    options = parser.parse_args()
    network, trained = load_network(options.weights, torch.device("cpu"))
    ablate(network, preset(options.preset), options.scans, trained)


if __name__ == "__main__":
    main()
