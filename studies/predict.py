"""What does `vertseg predict` cost, phase by phase, and what would the naive way cost?

Writes phantoms as large as clinical scans, then runs in processes of their own: the command with
ONNX Runtime and with PyTorch, and for the first scan the naive way, which upsamples the softmax of
all 29 channels to the scan's own grid instead of decoding slab by slab. Prints a Markdown table.

    python -m studies.predict [--model MODEL.safetensors] [--naive]

The naive way needs 10 GB of memory, three times as much for the second scan, and is spared it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from vertseg.phantom import generate_phantom, preset
from vertseg.segmentation.model import shipped_model

SCANS = {
    "512x512x100 (0.7x0.7x3 mm)": ((512, 512, 100), (0.7, 0.7, 3.0)),
    "512x512x300 (0.7x0.7x1.5 mm)": ((512, 512, 300), (0.7, 0.7, 1.5)),
    "512x512x900 (0.7x0.7x0.7 mm)": ((512, 512, 900), (0.7, 0.7, 0.7)),
}
ZOOM = 2
PHASES = ("read", "segment", "measure", "write", "preview")


def write_scan(path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> None:
    """A phantom's whole cross-section, every voxel repeated, cut or filled up with air to size."""
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


def predict(scan: str, model: str, output: str) -> None:
    """Predict as the command does, without the viewer, and print seconds by phase."""
    from vertseg.predict.pipeline import Options, predict_scan
    from vertseg.segmentation.model import load_model

    start = time.perf_counter()
    loaded = load_model(model)
    options = Options(Path(output), force=True, viewer=False)
    result = predict_scan(scan, "scan", loaded, options)
    seconds = json.loads(result.read_text())["seconds"]
    _report(seconds, time.perf_counter() - start)


def naive(scan: str, model: str, _: str) -> None:
    """The whole softmax at native resolution, then the label map; nothing else."""
    import torch
    from torch.nn import functional as F

    from vertseg.networks.weights import load_network
    from vertseg.scans.nifti import save_mask
    from vertseg.scans.read import read_scan
    from vertseg.segmentation.grid import GridTransform

    start = time.perf_counter()
    network, trained = load_network(model)
    volume = read_scan(scan).volume
    seconds = {"read": time.perf_counter() - start}
    begun = time.perf_counter()
    transform = GridTransform.onto(trained["settings"]["grid"], volume.native)
    image = torch.from_numpy(transform.encode_image(volume.array)).float()
    with torch.inference_mode():
        logits = network(image[None, None])
        whole = F.interpolate(logits, volume.array.shape, mode="trilinear", align_corners=False)
        torch.softmax(whole, 1, out=whole)
        mask = whole[0].argmax(0).to(torch.uint8).numpy()
    seconds["segment"] = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as folder:
        save_mask(Path(folder) / "mask.nii.gz", mask, volume.native)
    _report(seconds, time.perf_counter() - start)


def _report(seconds: dict[str, float], total: float) -> None:
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "total": total, "peak_gb": peak_gb}))


def measure(way: str, scan: Path, model: Path, output: Path) -> str:
    """Run one way in a process of its own; its row of the table."""
    command = [sys.executable, "-m", "benchmarks.predict", "--way", way, str(scan), str(model)]
    start = time.perf_counter()
    done = subprocess.run([*command, str(output)], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    if done.returncode:
        return "failed: " + (done.stderr.strip().splitlines() or ["killed"])[-1]
    measured = json.loads(done.stdout.splitlines()[-1])
    phases = [f"{measured['seconds'].get(phase, float('nan')):.1f}" for phase in PHASES]
    return " | ".join([*phases, f"**{wall:.1f}**", f"**{measured['peak_gb']:.2f}**"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=shipped_model().with_suffix(".safetensors"))
    parser.add_argument("--naive", action="store_true", help="also the naive way (10 GB)")
    options = parser.parse_args()
    print("| scan | way |", " | ".join(PHASES), "| total, s | peak, GB |")
    print("|---|---|" + "---:|" * (len(PHASES) + 2))
    with tempfile.TemporaryDirectory() as folder:
        for number, (title, (shape, spacing_mm)) in enumerate(SCANS.items()):
            scan = Path(folder) / f"scan{number}_ct.nii.gz"
            write_scan(scan, shape, spacing_mm)
            onnx = options.model.with_suffix(".onnx")
            ways = [("ONNX Runtime", "predict", onnx), ("PyTorch", "predict", options.model)]
            if options.naive and number == 0:
                ways.append(("naive, label map only", "naive", options.model))
            for name, way, model in ways:
                row = measure(way, scan, model, Path(folder))
                print(f"| {title} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        {"predict": predict, "naive": naive}[sys.argv[2]](*sys.argv[3:])
    else:
        main()
