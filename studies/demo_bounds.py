"""Between which bounds do the demo's results lie?

    python -m studies.demo_bounds results/demo [--fold 0] [--grid 24x24x48]

Prints, for the scans that a finished run's fold holds out, the results of two labellings that never
look at the scan (the floor that a network must clear), and those of the reference itself once it
has been through the network's grid (the ceiling).
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine

from vertseg.anatomy.centroids import Centres, body_centres, read_centroids
from vertseg.anatomy.labels import NUM_CLASSES, VERTEBRAE
from vertseg.dataset.folds import read_folds
from vertseg.dataset.samples import Sample, read_samples
from vertseg.evaluation.metrics import confusion, identification, multi_label_dice
from vertseg.scans.nifti import load_mask
from vertseg.segmentation.cache import CachedScan, read_cache
from vertseg.segmentation.decode import decode_logits

Scan = tuple[Sample, CachedScan]


def reference_centres(scan: Scan) -> Centres:
    """Annotated centres in mm, by label."""
    sample, cached = scan
    return read_centroids(sample.centroids, cached.transform.native.affine)


def relative_positions(scan: Scan) -> Centres:
    """Reference centres as shares (x, y, z) of the scan's field of view, by label."""
    native = scan[1].transform.native
    to_voxels = np.linalg.inv(native.canonical_affine)
    return {
        label: (apply_affine(to_voxels, point) + 0.5) / native.canonical_shape
        for label, point in reference_centres(scan).items()
    }


def mean_position_rate(training: list[Scan], held_out: list[Scan]) -> float:
    """Identification rate if each label is put at its median position in the training scans."""
    seen = defaultdict(list)
    for scan in training:
        for label, position in relative_positions(scan).items():
            seen[label].append(position)
    usual = {label: np.median(positions, axis=0) for label, positions in seen.items()}
    rates = []
    for scan in held_out:
        native = scan[1].transform.native
        predicted = {
            label: apply_affine(native.canonical_affine, share * native.canonical_shape - 0.5)
            for label, share in usual.items()
        }
        rates.append(identification(reference_centres(scan), predicted).rate)
    return float(np.mean(rates))


def single_label_rate(held_out: list[Scan]) -> float:
    """Identification rate if every vertebra, found perfectly, is given the best single label."""
    references = [reference_centres(scan) for scan in held_out]
    return max(
        float(np.mean([(label in centres) / len(centres) for centres in references]))
        for label in VERTEBRAE
    )


def ceiling(scan: Scan) -> tuple[float, float]:
    """Identification rate and native Dice of the reference, brought to the grid and back."""
    sample, cached = scan
    native = cached.transform.native
    one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[cached.label].transpose(3, 0, 1, 2)
    decoded = decode_logits(one_hot, cached.label, cached.transform)
    reference = load_mask(sample.mask, native)
    found = identification(reference_centres(scan), body_centres(decoded, reference.affine))
    return found.rate, multi_label_dice(confusion(reference.array, decoded))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a finished run, with its cache")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--grid", default="24x24x48", help="grid of the paper's rows")
    options = parser.parse_args()
    fold_of = read_folds(options.results / "folds.tsv")
    cache = options.results / "cache" / options.grid
    scans = [
        (sample, read_cache(cache / f"{sample.scan}.safetensors"))
        for sample in read_samples(options.results / "samples.tsv")
    ]
    training = [scan for scan in scans if fold_of[scan[0].scan] != options.fold]
    held_out = [scan for scan in scans if fold_of[scan[0].scan] == options.fold]
    rate, dice = np.array([ceiling(scan) for scan in held_out]).mean(axis=0)
    print(f"best single label, every vertebra found: id. rate {single_label_rate(held_out):.3f}")
    print(f"labels at their usual places: id. rate {mean_position_rate(training, held_out):.3f}")
    print(f"reference through the grid: id. rate {rate:.3f}, native multi-label Dice {dice:.3f}")


if __name__ == "__main__":
    main()
