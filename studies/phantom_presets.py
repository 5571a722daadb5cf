"""What do the presets of the phantom look like?

    python -m studies.phantom_presets docs/images/phantom_presets.png

Writes the picture of docs/phantom.md: lumbar scans of the same seeds, in the bone window. Prints
nothing.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from nibabel.affines import apply_affine

from vertseg.core.files import atomic_path
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.segmentation.grid import WINDOW_HU

PRESETS = ("full", "randomised")
SEEDS = (11, 12, 14, 15, 16)


def sagittal(phantom: Phantom) -> tuple[np.ndarray, float]:
    """Slice (y, z) through the middle of the spine in HU, and its z over its y spacing."""
    centres = apply_affine(
        np.linalg.inv(phantom.affine), np.array(list(phantom.centroids_mm.values()))
    )
    spacing = np.diag(phantom.affine)[:3]
    return phantom.ct[round(float(np.median(centres[:, 0])))], spacing[2] / spacing[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="PNG")
    target = parser.parse_args().target
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots(len(PRESETS), len(SEEDS))
    for row, name in zip(axes, PRESETS, strict=True):
        settings = replace(preset(name), field_of_view={"lumbar": 1.0})
        for panel, seed in zip(row, SEEDS, strict=True):
            image, aspect = sagittal(generate_phantom(seed, settings))
            low, high = WINDOW_HU
            panel.imshow(image.T, "gray", origin="lower", aspect=aspect, vmin=low, vmax=high)
            panel.set_axis_off()
        row[0].set_title(name, loc="left", fontsize=9)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=100)


if __name__ == "__main__":
    main()
