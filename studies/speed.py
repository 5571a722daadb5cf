"""How fast is `vertseg predict`, and how much memory does it need, beside an older checkout?

    python -m studies.speed OLD_CHECKOUT [--old-python PYTHON] [--scans N] [--runs N]

Writes phantoms as large as clinical scans, and a folder of N scans of the smaller size. Both
checkouts predict them in turn, each call in processes of its own, from the start of Python to the
last file, without report and viewer. Prints Markdown: the ratios of the medians' wall time and peak
memory (that of all processes of a call together), then both medians; and the new checkout's seconds
by phase. An old checkout runs with the same Python, unless another is named.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil

from vertseg.phantom import generate_phantom, preset

NEW = Path(__file__).parents[1]
SCANS = {
    "512x512x300 (0.7x0.7x1.5 mm)": ((512, 512, 300), (0.7, 0.7, 1.5)),
    "512x512x900 (0.7x0.7x0.7 mm)": ((512, 512, 900), (0.7, 0.7, 0.7)),
}
ZOOM = 2
SAMPLED_S = 0.02
"""Time between two looks at the memory of a call's processes."""


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Attributes:
        wall_s: from its start to its end.
        peak_gb: largest resident memory of its processes together.
        phases_s: seconds by phase of the first scan.
    """

    wall_s: float
    peak_gb: float
    phases_s: dict[str, float]


def write_scan(
    ct: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, ...], mask: Path | None = None
) -> None:
    """Write a phantom's whole cross-section, every voxel repeated, cut or padded with air.

    Args:
        ct: the NIfTI file.
        shape: voxels (x, y, z).
        spacing_mm: size of a voxel.
        mask: file of its label map, if that is wanted.
    """
    x, _, z = (ZOOM * step for step in spacing_mm)
    length_mm = shape[2] * spacing_mm[2]
    settings = replace(
        preset("full"),
        in_plane_spacing_mm=(x, x),
        slice_spacing_mm=(z, z),
        sagittal_share=0.0,
        whole_section_share=1.0,
        length_mm=(length_mm, length_mm),
        field_of_view={"thoracolumbar": 1.0},
    )
    phantom = generate_phantom(7, settings)
    for path, small, beyond in ((ct, phantom.ct, -1024), (mask, phantom.mask, 0)):
        if path is None:
            continue
        whole = np.full(shape, beyond, small.dtype)
        fine = small.repeat(ZOOM, 0).repeat(ZOOM, 1).repeat(ZOOM, 2)
        kept = tuple(slice(0, min(a, b)) for a, b in zip(shape, fine.shape, strict=True))
        whole[kept] = fine[kept]
        nib.save(nib.Nifti1Image(whole, np.diag([*spacing_mm, 1.0])), path)


def predict(checkout: Path, python: str, scans: Sequence[Path], output: Path) -> Cost:
    """Predict scans by a checkout's own program.

    Raises:
        RuntimeError: the call failed.
    """
    start = time.perf_counter()
    call = subprocess.Popen(
        [python, "-m", "vertseg", "predict", *scans, "--output", output, "--no-report", "--force"],
        cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = peak_resident(call)
    wall = time.perf_counter() - start
    if call.returncode:
        raise RuntimeError(f"{checkout}: vertseg predict ended with status {call.returncode}")
    results = sorted(output.glob("*_result.json"))
    return Cost(wall, peak / 1e9, json.loads(results[0].read_text())["seconds"])


def peak_resident(call: subprocess.Popen[Any]) -> int:
    """Most bytes of memory that a call and the processes it started had, once it has ended."""
    peak = 0
    while call.poll() is None:
        peak = max(peak, resident(psutil.Process(call.pid)))
        time.sleep(SAMPLED_S)
    return peak


def resident(process: psutil.Process) -> int:
    """Bytes of memory of a process and those that it started."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def compared(old: Sequence[Cost], new: Sequence[Cost]) -> str:
    """Cells of a row: ratios of wall time and memory, then wall times, then memory."""
    wall, peak = (
        [statistics.median(getattr(cost, field) for cost in costs) for costs in (old, new)]
        for field in ("wall_s", "peak_gb")
    )
    return (
        f"**{wall[1] / wall[0]:.2f}** | **{peak[1] / peak[0]:.2f}** | "
        f"{wall[0]:.1f} | {wall[1]:.1f} | {peak[0]:.2f} | {peak[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="the older checkout")
    parser.add_argument("--old-python", default=sys.executable, help="its Python (default: this)")
    parser.add_argument("--scans", type=int, default=8, help="number of scans in the folder")
    parser.add_argument("--runs", type=int, default=3, help="calls of each checkout")
    options = parser.parse_args()
    ways = [(options.old.absolute(), options.old_python), (NEW, sys.executable)]
    print("| scans | wall time, ratio | peak memory, ratio | old, s | new, s | old, GB | new, GB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    phases = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs: dict[str, list[Path]] = {}
        for number, (title, (shape, spacing_mm)) in enumerate(SCANS.items()):
            jobs[title] = [folder / f"{number}_ct.nii.gz"]
            write_scan(jobs[title][0], shape, spacing_mm)
        title, [scan] = next(iter(jobs.items()))
        copies = [folder / f"copy{number}_ct.nii.gz" for number in range(options.scans)]
        for copy in copies:
            shutil.copy(scan, copy)
        jobs[f"{options.scans} scans of {title.partition(' ')[0]} in one call"] = copies
        for title, scans in jobs.items():
            costs: list[list[Cost]] = [[], []]
            for run in range(options.runs):
                for (checkout, python), own in zip(ways, costs, strict=True):
                    output = folder / f"{checkout.name}_{run}"
                    own.append(predict(checkout, python, scans, output))
                    shutil.rmtree(output)
            print(f"| {title} | {compared(*costs)} |", flush=True)
            phases[title] = costs[1][-1].phases_s
    names = list(dict.fromkeys(name for one in phases.values() for name in one))
    print(f"\n| scan | {' | '.join(f'{name}, s' for name in names)} |")
    print("|---|" + "---:|" * len(names))
    for title in SCANS:
        print(f"| {title} | {' | '.join(f'{phases[title].get(name, 0):.1f}' for name in names)} |")


if __name__ == "__main__":
    main()
