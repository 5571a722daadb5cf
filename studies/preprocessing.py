"""How fast are scans brought onto a grid and back, beside MONAI, TorchIO and PyTorch?

    python -m studies.preprocessing PEERS_PYTHON [--runs N]

PEERS_PYTHON is the Python of an environment with MONAI and TorchIO. Writes a phantom as large as a
clinical scan and its mask as NIfTI. Each library in turn reads both, turns them to RAS, and
resamples them to cells of 2.5 mm and to 128 cells along each axis: the CT linearly, the mask to the
nearest label. Then logits of the mask's labels on cells of 2.5 mm are interpolated to the scan's
voxels, where the largest wins: by the package, and by PyTorch, one channel at a time. Each call is
a process of its own, whose libraries are imported before the clock starts, and may use all cores.
Prints Markdown: medians of seconds and peak memory, and ours beside the best of the others.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from studies.speed import peak_resident, write_scan
from vertseg.anatomy.labels import NUM_CLASSES
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.grid import GridTransform

ROOT = Path(__file__).parents[1]
SHAPE, SPACING_MM = (512, 512, 300), (0.7, 0.7, 1.5)
GRIDS = {"cells of 2.5 mm": "2.5", "128 x 128 x 128 cells": "128"}
Way = tuple[str, str]
"""Python, and the program that it runs."""

MEASURED = """
import json, sys, time
import numpy as np
{imports}
start = time.perf_counter()
{work}
print(json.dumps([time.perf_counter() - start, found]))
"""

OURS = MEASURED.format(
    imports="""
from vertseg.core.parallel import usable_cores
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.grid import GridTransform
ct, mask, grid = sys.argv[1:]
""",
    work="""
image = load_ct(ct)
labels = load_mask(mask, image.native)
spec = [128] * 3 if grid == "128" else {"spacing_mm": float(grid)}
transform = GridTransform.onto(spec, image.native)
found = transform.encode_image(image.array, usable_cores()).shape
assert transform.encode_labels(labels.array).shape == found
""",
)

MONAI = MEASURED.format(
    imports="""
from monai.transforms import (
    Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Resized, ScaleIntensityRanged, Spacingd
)
ct, mask, grid = sys.argv[1:]
""",
    work="""
keys = ("ct", "mask")
if grid == "128":
    onto = Resized(keys, (128,) * 3, mode=("trilinear", "nearest"), anti_aliasing=(True, False))
else:
    onto = Spacingd(keys, (float(grid),) * 3, mode=("bilinear", "nearest"))
both = Compose([
    LoadImaged(keys), EnsureChannelFirstd(keys), Orientationd(keys, "RAS", labels=None),
    ScaleIntensityRanged("ct", -450, 1050, -1, 1, clip=True), onto,
])({"ct": ct, "mask": mask})
found = both["ct"].shape[1:]
assert both["mask"].shape[1:] == found
""",
)

TORCHIO = MEASURED.format(
    imports="""
import torchio
ct, mask, grid = sys.argv[1:]
""",
    work="""
if grid == "128":
    onto = torchio.Resize(128)
else:
    onto = torchio.Resample(float(grid), antialias=True)
both = torchio.Compose([
    torchio.ToCanonical(), torchio.RescaleIntensity((-1, 1), in_min_max=(-450, 1050)), onto
])(torchio.Subject(ct=torchio.ScalarImage(ct), mask=torchio.LabelMap(mask)))
found = both.ct.spatial_shape
assert both.mask.spatial_shape == found
""",
)

OUR_DECODING = MEASURED.format(
    imports="""
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.grid import GridTransform
logits, transform = np.load(sys.argv[1]), GridTransform.from_json(sys.argv[2])
""",
    work="""
labels = decode_logits(logits, logits.argmax(axis=0).astype(np.uint8), transform)
found = np.bincount(labels.ravel("K")[::7], minlength=29).tolist()
""",
)

PYTORCH = MEASURED.format(
    imports="""
import torch
from vertseg.segmentation.grid import GridTransform
logits, transform = np.load(sys.argv[1]), GridTransform.from_json(sys.argv[2])
""",
    work="""
size = transform.native.canonical_shape
best = torch.full(size, -torch.inf)
labels = torch.zeros(size, dtype=torch.uint8)
for label, channel in enumerate(torch.from_numpy(logits)):
    scores = torch.nn.functional.interpolate(
        channel[None, None], size, mode="trilinear", align_corners=False
    )[0, 0]
    wins = scores > best
    best = torch.where(wins, scores, best)
    labels[wins] = label
found = np.bincount(labels.numpy().T.ravel()[::7], minlength=29).tolist()
""",
)


def measure(way: Way, *arguments: str | Path) -> tuple[float, float, list[int]]:
    """Seconds and peak memory in GB of a program, and what it found."""
    python, program = way
    call = subprocess.Popen(
        [python, "-W", "ignore", "-c", program, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = peak_resident(call)
    if call.returncode:
        raise RuntimeError(f"{python}: ended with status {call.returncode}")
    assert call.stdout is not None
    seconds, found = json.loads(call.stdout.read().splitlines()[-1])
    return seconds, peak / 1e9, found


def row(title: str, ways: Mapping[str, Way], arguments: Sequence[str | Path], runs: int) -> str:
    """Medians of some ways, of which the first is ours, as a row of a table."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results = {}
    for _ in range(runs):
        for name, way in ways.items():
            *cost, results[name] = measure(way, *arguments)
            costs[name].append((cost[0], cost[1]))
    ours, *others = (np.array(found) for found in results.values())
    for other in others:
        # MONAI's grid spans the distance of the outermost voxels' centres; ties may go either way.
        assert np.abs(other - ours).max() <= max(1, 1e-3 * ours.max()), results
    medians = [
        [statistics.median(values) for values in zip(*each, strict=True)] for each in costs.values()
    ]
    best = np.min(medians[1:], axis=0)
    cells = [f"{seconds:.2f} | {peak:.2f}" for seconds, peak in medians]
    ratios = [f"**{own / other:.2f}**" for own, other in zip(medians[0], best, strict=True)]
    return f"| {title} | {' | '.join([*cells, *ratios])} |"


def heading(ways: Mapping[str, Way]) -> str:
    """The head of a table of rows."""
    names = " | ".join(f"{name}, s | GB" for name in ways)
    return f"| | {names} | ratio of time | of memory |\n|---|" + "---:|" * (2 * len(ways) + 2)


def write_logits(path: Path, ct: Path, mask: Path) -> GridTransform:
    """Write smooth logits (C, X, Y, Z) float32 of a mask's labels on cells of 2.5 mm."""
    native = load_ct(ct).native
    transform = GridTransform.onto({"spacing_mm": 2.5}, native)
    labels = transform.encode_labels(load_mask(mask, native).array)
    logits = np.stack(
        [
            ndimage.gaussian_filter((labels == label).astype(np.float32), 1, output=np.float32)
            for label in range(NUM_CLASSES)
        ]
    )
    np.save(path, 10 * logits)
    return transform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", help="Python of an environment with MONAI and TorchIO")
    parser.add_argument("--runs", type=int, default=3, help="calls of each library")
    options = parser.parse_args()
    ours = sys.executable
    onto = {
        "vertseg": (ours, OURS),
        "MONAI": (options.peers, MONAI),
        "TorchIO": (options.peers, TORCHIO),
    }
    back = {"vertseg": (ours, OUR_DECODING), "PyTorch": (ours, PYTORCH)}
    with tempfile.TemporaryDirectory() as temporary:
        ct, mask = (Path(temporary, f"scan_{kind}.nii.gz") for kind in ("ct", "seg"))
        write_scan(ct, SHAPE, SPACING_MM, mask)
        print(heading(onto))
        for title, grid in GRIDS.items():
            print(row(f"onto {title}", onto, (ct, mask, grid), options.runs), flush=True)
        logits = Path(temporary, "logits.npy")
        transform = write_logits(logits, ct, mask)
        print(f"\n{heading(back)}")
        arguments = (logits, transform.to_json())
        print(row("logits to voxels", back, arguments, options.runs), flush=True)


if __name__ == "__main__":
    main()
