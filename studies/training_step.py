"""How long does a training step take on a CPU, and with each of its measures undone?

    python -m studies.training_step [network ...]

Prints a Markdown table: seconds of the fastest of a few steps (batch 4, 40x40x80 cells) and peak
memory, each measured in a process of its own. Run it on an idle machine.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from torch import nn

from vertseg.dataset.config import complete_config, training_settings
from vertseg.networks.depthwise import DepthwiseConv3d
from vertseg.networks.devices import keep_freed_memory
from vertseg.networks.registry import NETWORKS
from vertseg.training.data import LabelledScans
from vertseg.training.settings import TrainingSettings
from vertseg.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
GRID = (40, 40, 80)
BATCH = 4
STEPS = 6


@dataclass(frozen=True)
class Variant:
    """One way to run a step."""

    title: str
    threads: int = 2
    precision: str = "fp32"
    channels_last: bool = True
    own_depthwise: bool = True
    keep_memory: bool = True
    checkpointing: bool = False


VARIANTS = (
    Variant("as in training, fp32"),
    Variant("1 thread", threads=1),
    Variant("bf16", precision="bf16"),
    Variant("contiguous tensors", channels_last=False),
    Variant("PyTorch's depthwise backward", own_depthwise=False),
    Variant("freed memory returned", keep_memory=False),
    Variant("activation checkpointing", checkpointing=True),
    Variant("all of PyTorch's defaults", channels_last=False, own_depthwise=False,
            keep_memory=False),
)  # fmt: skip


def measure(network: str, variant: Variant) -> tuple[float, float]:
    """Seconds of the fastest step, and peak memory in GB."""
    torch.set_num_threads(variant.threads)
    if variant.keep_memory:
        keep_freed_memory()
    options = {"checkpointing": variant.checkpointing}
    if "aspp" in network:
        options["aspp_rates"] = (1, 2, 4, 8)
    changes = {
        "network_options": options,
        "batch_size": BATCH,
        "precision": variant.precision,
        "device": "cpu",
    }
    paper = yaml.safe_load((ROOT / "config.yaml").read_text())
    config = complete_config(paper, ROOT / "schemas/config.schema.yaml")
    settings = TrainingSettings.from_config(training_settings(config, network) | changes)
    generator = torch.Generator().manual_seed(0)
    scans = LabelledScans(
        list((torch.rand(BATCH, *GRID, generator=generator) * 2 - 1).half()),
        list(torch.randint(0, 26, (BATCH, *GRID), dtype=torch.uint8, generator=generator)),
        [],
    )
    with ExitStack() as undone:
        if not variant.own_depthwise:
            undone.enter_context(patch.object(DepthwiseConv3d, "forward", nn.Conv3d.forward))
        if not variant.channels_last:
            undone.enter_context(
                patch("vertseg.training.trainer.place_network", lambda network, _: network)
            )
        trainer = Trainer(settings, scans, scans)
        times = []
        for iteration in range(1, STEPS + 1):
            start = time.perf_counter()
            trainer.step(iteration)
            times.append(time.perf_counter() - start)
    return min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="network", help="all by default")
    networks = parser.parse_args().networks or list(NETWORKS)
    print(f"PyTorch {torch.__version__}, batch {BATCH}, {GRID}: seconds a step (GB)\n")
    print("| variant |", " | ".join(networks), "|")
    print("|---|" + "---|" * len(networks))
    for variant in VARIANTS:
        cells = []
        for network in networks:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                seconds, memory = process.submit(measure, network, variant).result()
            cells.append(f"{seconds:.2f} ({memory:.1f})")
        print(f"| {variant.title} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
