"""Devices for networks, and their memory."""

import ctypes
import platform
import re
from pathlib import Path

import torch
from torch import nn

from vertseg.core.errors import UserError

MALLOPT_TRIM_THRESHOLD = -1
MALLOPT_MMAP_MAX = -4

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Flags of processors that compute in bfloat16. Others convert to float32 and back: ten times as
slow."""


def choose_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda, cuda:1, or auto (cuda if there is a GPU, else cpu).

    Raises:
        UserError: there is no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"The device {name} does not exist ({torch.cuda.device_count()} GPUs are visible): set "
            "device to auto or cpu."
        )
    return device


def fastest_precision(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The floating-point type in which a device trains fastest: fp16, bf16 or fp32.

    fp16 on a GPU; bf16 on a CPU with instructions for it, all of its cores; else fp32.

    Args:
        device: the device.
        cpuinfo: the kernel's description of the processors (Linux only).
    """
    if device.type == "cuda":
        return "fp16"
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    cores = [set(flags.split()) for flags in re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)]
    return "bf16" if cores and all(BF16_FLAGS & flags for flags in cores) else "fp32"


def place_network(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device; on a CPU, to channels-last order.

    This order makes dense convolutions up to a fifth faster, and depthwise ones no slower.
    """
    if device.type == "cpu":
        for parameter in network.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network.to(device)


def keep_freed_memory() -> None:
    """Let this process reuse the memory that it frees (glibc only).

    By default glibc returns the memory of every large tensor to the kernel and requests it again,
    page by page, for the next: about a third of a training step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MALLOPT_MMAP_MAX, 0)
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, -1)
