"""Independent jobs side by side."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
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
