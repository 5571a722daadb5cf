"""The GPUs of a machine, shared out among the jobs that run on it.

Snakemake counts GPUs (`--resources gpu=4`) but does not assign them, so that all jobs would take
the first. A lock per GPU assigns it; the kernel frees the locks of a job that dies.
"""

import getpass
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vertseg.core.errors import UserError
from vertseg.core.logs import logger

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that lists the GPUs that CUDA may see."""
RETRY_S = 1.0
"""Longest pause between two attempts to lock GPUs."""


@contextmanager
def claimed_gpus(number: int, device: str = "auto") -> Iterator[list[str]]:
    """Hold GPUs that no other job of this user holds, and let CUDA see no others.

    Waits while too few are free. Locks go by the GPU's own name, so a cluster that has already
    chosen the GPUs of a job (by cgroup or CUDA_VISIBLE_DEVICES) is never contradicted. Nothing is
    held where there is no GPU, none is asked for, or `device` names one or the CPU. To be entered
    before CUDA is used.

    Args:
        number: how many GPUs.
        device: the configured device; `auto` and `cuda` leave the choice open.

    Yields:
        The GPUs' UUIDs.

    Raises:
        UserError: the machine has fewer GPUs than asked for.
    """
    gpus = visible_gpus() if number and device in ("auto", "cuda") else []
    if not gpus:
        yield []
        return
    if number > len(gpus):
        raise UserError(
            f"The job asks for {number} GPUs and sees {len(gpus)}: lower `gpus` in the "
            "configuration."
        )
    before = os.environ.get(VISIBLE)
    with _locked(gpus, number) as held:
        os.environ[VISIBLE] = ",".join(held)
        logger.info("On %s.", ", ".join(held))
        try:
            yield held
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that CUDA would show this process, in its order; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split(", ") for line in done.stdout.splitlines() if done.returncode == 0]
    by_index = {index: uuid.strip() for index, uuid in rows}
    asked = os.environ.get(VISIBLE)
    if asked is None:
        return list(by_index.values())
    visible = []
    for name in (part.strip() for part in asked.split(",")):
        found = [uuid for index, uuid in by_index.items() if name == index]
        found += [uuid for uuid in by_index.values() if name and uuid.startswith(name)]
        # A slice of a GPU (MIG) is not in the list and known by its own name.
        found += [name] if name.startswith("MIG-") else []
        if not found:
            # CUDA, too, stops at the first name that it does not know.
            break
        visible.append(found[0])
    return visible


@contextmanager
def _locked(gpus: list[str], number: int) -> Iterator[list[str]]:
    """Lock some of the GPUs, all or none at a time, so that jobs never wait for one another."""
    folder = Path(tempfile.gettempdir()) / f"vertseg-gpus-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    announced = False
    while True:
        with ExitStack() as stack:
            held: list[str] = []
            for gpu in gpus:
                try:
                    stack.enter_context(FileLock(folder / f"{gpu}.lock", timeout=0))
                except Timeout:
                    continue
                held.append(gpu)
                if len(held) == number:
                    yield held
                    return
        if not announced:
            logger.info("Waiting for %d of %d GPUs that other jobs hold.", number, len(gpus))
            announced = True
        time.sleep(RETRY_S * random.uniform(0.5, 1))
