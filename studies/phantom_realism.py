"""How like a real scan are the phantom's gray values, in and around its vertebrae?

    python -m studies.phantom_realism CT MASK [--picture PNG]

Prints a Markdown table: a labelled real scan of the lumbar spine beside lumbar phantoms of each
preset (median, and range over phantoms). The picture has its middle sagittal slice above theirs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from nibabel.affines import voxel_sizes
from scipy import ndimage

from vertseg.core.files import atomic_path
from vertseg.phantom import generate_phantom, preset
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.grid import WINDOW_HU

PRESETS = ("full", "randomised")
SEEDS = (11, 12, 14, 15, 16)

CORE_MM = 4.0
"""Depth below a vertebra's surface at which its spongy core begins."""

AROUND_MM = (4.0, 20.0)
"""Nearest and furthest distance from the vertebrae of their surroundings."""

FLESH = -300.0
"""HU of the darkest tissue counted as surroundings: the share of air and lung depends on how a scan
is cut."""


def gray_values(ct: np.ndarray, mask: np.ndarray, spacing_mm: np.ndarray) -> dict[str, float]:
    """Statistics in HU of a CT (x, y, z) and its label map."""
    inside = ndimage.distance_transform_edt(mask > 0, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(mask == 0, sampling=spacing_mm)
    vertebrae, core = ct[mask > 0], ct[inside > CORE_MM]
    around = ct[(outside > AROUND_MM[0]) & (outside < AROUND_MM[1]) & (ct > FLESH)]
    steepness = ndimage.gaussian_gradient_magnitude(ct.astype(np.float32), 1 / spacing_mm)
    return {
        "vertebrae, median": float(np.median(vertebrae)),
        "vertebrae, 95th percentile": float(np.percentile(vertebrae, 95)),
        "spongy core, median": float(np.median(core)),
        "spongy core, SD": float(core.std()),
        "around, 5th percentile": float(np.percentile(around, 5)),
        "around, median": float(np.median(around)),
        "around, 95th percentile": float(np.percentile(around, 95)),
        "surface, steepness a mm": float(np.median(steepness[(mask > 0) & (inside < CORE_MM / 2)])),
    }


def middle_slice(ct: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Sagittal slice (y, z) through the middle of the labelled vertebrae."""
    return ct[round(float(np.mean(np.nonzero(mask)[0])))]


def draw(panels: list[tuple[str, np.ndarray, float]], target: Path) -> None:
    """Write a picture of slices (title, HU (y, z), z over y spacing), the real one alone on top."""
    figure = Figure(figsize=(7, 6.6), layout="constrained")
    axes = figure.subplots(1 + len(PRESETS), len(SEEDS))
    for panel in axes.ravel():
        panel.set_axis_off()
    places = [axes[0, 0], *axes[1:].ravel()]
    for panel, (title, image, aspect) in zip(places, panels, strict=True):
        low, high = WINDOW_HU
        panel.imshow(image.T, "gray", origin="lower", aspect=aspect, vmin=low, vmax=high)
        panel.set_title(title, loc="left", fontsize=8)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", help="of the real scan")
    parser.add_argument("mask")
    parser.add_argument("--picture", type=Path, help="PNG")
    options = parser.parse_args()
    ct = load_ct(options.ct)
    mask = load_mask(options.mask, ct.native).array
    spacing = voxel_sizes(ct.affine)
    real = gray_values(ct.array, mask, spacing)
    panels = [("real", middle_slice(ct.array, mask), spacing[2] / spacing[1])]
    columns = []
    for name in PRESETS:
        settings = replace(preset(name), field_of_view={"lumbar": 1.0}, limb_share=0.0)
        rows = []
        for seed in SEEDS:
            phantom = generate_phantom(seed, settings)
            spacing = voxel_sizes(phantom.affine)
            rows.append(gray_values(phantom.ct, phantom.mask, spacing))
            panels.append((name, middle_slice(phantom.ct, phantom.mask), spacing[2] / spacing[1]))
        columns.append({key: [row[key] for row in rows] for key in real})
    print("| HU | real |", " | ".join(PRESETS), "|\n|---|---:|" + "---:|" * len(PRESETS))
    for key, value in real.items():
        cells = [
            f"{np.median(c[key]):.0f} ({min(c[key]):.0f} to {max(c[key]):.0f})" for c in columns
        ]
        print(f"| {key} | {value:.0f} |", " | ".join(cells), "|")
    if options.picture:
        draw(panels, options.picture)


if __name__ == "__main__":
    main()
