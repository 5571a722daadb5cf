"""What does `vertseg predict` cost, phase by phase, and what would the naive way cost?

    python -m studies.prediction_cost [--model MODEL.safetensors] [--naive]

Writes phantoms as large as clinical scans and predicts each with ONNX Runtime and with PyTorch, the
first also in the naive way, which upsamples the softmax of all 29 channels to the scan's own grid
instead of decoding slab by slab. Each prediction has a process of its own. Prints a Markdown table:
seconds by phase, from the process's start to its end, and peak memory (Linux).

The naive way needs 10 GB of memory, and would need three times as much for the second scan.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np

from vertseg.phantom import generate_phantom, preset
from vertseg.segmentation.settings import SHIPPED_FILES

SCANS = {
    "512x512x100 (0.7x0.7x3 mm)": ((512, 512, 100), (0.7, 0.7, 3.0)),
    "512x512x300 (0.7x0.7x1.5 mm)": ((512, 512, 300), (0.7, 0.7, 1.5)),
    "512x512x900 (0.7x0.7x0.7 mm)": ((512, 512, 900), (0.7, 0.7, 0.7)),
}
ZOOM = 2
PHASES = ("read", "segment", "measure", "write", "preview")

Cost = tuple[dict[str, float], float]
"""Seconds by phase, and peak memory in GB."""


def write_scan(path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> None:
    """Write a phantom's whole cross-section, every voxel repeated, cut or padded with air."""
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
    small = generate_phantom(7, settings).ct
    whole = np.full(shape, -1024, np.int16)
    fine = small.repeat(ZOOM, 0).repeat(ZOOM, 1).repeat(ZOOM, 2)
    kept = tuple(slice(0, min(a, b)) for a, b in zip(shape, fine.shape, strict=True))
    whole[kept] = fine[kept]
    nib.save(nib.Nifti1Image(whole, np.diag([*spacing_mm, 1.0])), path)


# What only one way needs is imported by it alone, so that the others' cost does not include it.


def predict(scan: Path, model: Path, output: Path) -> Cost:
    """Predict as the command does, without the viewer."""
    from vertseg.predict.pipeline import Options, predict_scan
    from vertseg.segmentation.model import load_model

    options = Options(output, force=True, viewer=False)
    result = predict_scan(scan, "scan", load_model(model), options)
    return json.loads(result.read_text())["seconds"], peak_gb()


def predict_naively(scan: Path, model: Path, output: Path) -> Cost:
    """Write the label map of the whole softmax at native resolution, and nothing else."""
    import torch
    from torch.nn import functional as F

    from vertseg.networks.weights import load_network
    from vertseg.scans.nifti import save_mask
    from vertseg.scans.read import read_scan
    from vertseg.segmentation.grid import GridTransform

    start = time.perf_counter()
    network, trained = load_network(model)
    volume = read_scan(scan).volume
    begun = time.perf_counter()
    transform = GridTransform.onto(trained["settings"]["grid"], volume.native)
    image = torch.from_numpy(transform.encode_image(volume.array)).float()
    with torch.inference_mode():
        logits = network(image[None, None])
        whole = F.interpolate(logits, volume.array.shape, mode="trilinear", align_corners=False)
        torch.softmax(whole, 1, out=whole)
        mask = whole[0].argmax(0).to(torch.uint8).numpy()
    segmented = time.perf_counter()
    save_mask(output / "naive.nii.gz", mask, volume.native)
    return {"read": begun - start, "segment": segmented - begun}, peak_gb()


def peak_gb() -> float:
    """Peak memory of this process in GB; that of `resource` would include its parent's."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e9


def row(way: Callable[[Path, Path, Path], Cost], scan: Path, model: Path, output: Path) -> str:
    """Predict in a process of its own; the cells of the table's row."""
    start = time.perf_counter()
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            seconds, peak = process.submit(way, scan, model, output).result()
    except BrokenProcessPool:
        return "killed, most likely for lack of memory"
    total = time.perf_counter() - start
    phases = [f"{seconds[phase]:.1f}" if phase in seconds else "" for phase in PHASES]
    return " | ".join([*phases, f"**{total:.1f}**", f"**{peak:.2f}**"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_FILES["torch"])
    parser.add_argument("--naive", action="store_true", help="also the naive way (10 GB)")
    options = parser.parse_args()
    print("| scan | way |", " | ".join(PHASES), "| total, s | peak, GB |")
    print("|---|---|" + "---:|" * (len(PHASES) + 2))
    with tempfile.TemporaryDirectory() as folder:
        scan, output = Path(folder) / "scan_ct.nii.gz", Path(folder)
        for number, (title, (shape, spacing_mm)) in enumerate(SCANS.items()):
            write_scan(scan, shape, spacing_mm)
            ways = [
                ("ONNX Runtime", predict, options.model.with_suffix(".onnx")),
                ("PyTorch", predict, options.model),
            ]
            if options.naive and number == 0:
                ways.append(("naive, label map only", predict_naively, options.model))
            for name, way, model in ways:
                print(f"| {title} | {name} | {row(way, scan, model, output)} |", flush=True)


if __name__ == "__main__":
    main()
