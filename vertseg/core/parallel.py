"""Work in other processes: independent jobs side by side, or one that may be killed."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from vertseg.core.progress import progress

Result = TypeVar("Result")


def run_jobs(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], processes: int, what: str
) -> list[Result]:
    """Call a function once for each tuple of arguments; the results in the jobs' order.

    Args:
        function: a module's function, so that other processes find it.
        jobs: its arguments, one tuple for each call.
        processes: how many calls run at a time; with 1 they run in this process.
        what: name of the work, for the progress bar.
    """
    if processes == 1:
        return [function(*job) for job in progress(jobs, what)]
    # Forked: a spawned process would run the Snakemake script that started it once more.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max(min(processes, len(jobs)), 1), mp_context=context) as pool:
        pending = [pool.submit(function, *job) for job in jobs]
        return [job.result() for job in progress(pending, what)]


def in_threads(
    function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], threads: int
) -> list[Result]:
    """Call a function once for each tuple of arguments; the results in the jobs' order.

    For work on arrays, during which numpy and scipy let other threads run.

    Args:
        function: it changes nothing that two calls share.
        jobs: its arguments, one tuple for each call.
        threads: how many calls run at a time.
    """
    if threads == 1:
        return [function(*job) for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda job: function(*job), jobs))


def usable_cores() -> int:
    """Number of processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class KilledError(Exception):
    """A process was killed, most likely for lack of memory."""


def run_apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a fork of this process, which outlives it if it is killed.

    The kernel ends the process that holds most of the memory when there is none left; that is the
    fork, if this process is small. The fork ends with this process.

    Args:
        function: a module's function, so that the other process finds it.
        arguments: of the function.

    Raises:
        KilledError: the fork was killed.
        Exception: what the function raises.
    """
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("fork"), initializer=_end_with, initargs=(os.getpid(),)
    ) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise KilledError from None


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
