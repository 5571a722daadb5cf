"""Prediction of many scans in two processes, so that no core waits for one scan's files.

While one scan is read, measured or written, for which one core serves, the network works on the
other. Each scan is as much on its own as in one process, and a killed process costs one scan.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.interruption import sigterm_as_exception
from vertseg.core.logs import logger
from vertseg.predict.pipeline import Options
from vertseg.predict.result import Result

WORKERS = 2
"""Number of processes, and of scans in memory."""

LEAST_SCANS = 4
"""Smallest number of scans for which processes are started; each loads libraries and model."""

_END_S = 30.0
"""Time that a process has to remove its temporary files when it is stopped."""

Outcome = Path | Result
Job = tuple[str | os.PathLike[str], str]
"""Path and name of a scan."""


def predict_in_workers(
    scans: Sequence[Job], model: str | os.PathLike[str] | None, options: Options
) -> Generator[tuple[Job, Outcome | None], None, None]:
    """Predict scans, two at a time, each in the order given.

    The processes end with the iteration, however it ends.

    Args:
        scans: the scans.
        model: file of the network; None: the shipped one.
        options: settings; the processes share its threads.

    Yields:
        Each scan with its outcome as soon as it has one; None if its process was killed.

    Raises:
        UserError: the model cannot be loaded.
    """
    each = replace(options, threads=max(options.threads // WORKERS, 1))
    waiting = list(reversed(scans))
    workers = [_Worker(model, each) for _ in range(min(WORKERS, len(scans)))]
    try:
        for worker in workers:
            worker.give(waiting.pop())
        while busy := [worker for worker in workers if worker.job]:
            ready = wait([worker.connection for worker in busy])
            for worker in [one for one in busy if one.connection in ready]:
                job, outcome = worker.take()
                yield job, outcome
                if outcome is None:
                    worker.end()
                    workers.remove(worker)
                    if not waiting:
                        continue
                    worker = _Worker(model, each)
                    workers.append(worker)
                if waiting:
                    worker.give(waiting.pop())
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


class _Worker:
    """A process that predicts one scan after another."""

    def __init__(self, model: str | os.PathLike[str] | None, options: Options) -> None:
        # A fork would take over threads of the libraries that hold their locks.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, model, options), daemon=True)
        self.job: Job | None = None
        self.process.start()
        other.close()

    def give(self, job: Job) -> None:
        self.job = job
        # That of a process that has ended is noticed when its outcome is taken.
        with suppress(OSError):
            self.connection.send(job)

    def take(self) -> tuple[Job, Outcome | None]:
        """The scan and its outcome; None if the process has ended.

        Raises:
            UserError: the model cannot be loaded.
        """
        assert self.job is not None
        job, self.job = self.job, None
        try:
            outcome = self.connection.recv()
        except (EOFError, OSError):
            return job, None
        if isinstance(outcome, UserError):
            raise outcome
        return job, outcome

    def end(self) -> None:
        """Wait for the process, which was told to end or has ended."""
        self.connection.close()
        self.process.join(_END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection, model: str | os.PathLike[str] | None, options: Options) -> None:
    """Predict the scans that arrive, until the connection or the parent ends."""
    from vertseg.predict.batch import Batch
    from vertseg.segmentation.model import load_model

    # Ctrl-C reaches all processes of a terminal; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.handlers[:] = [to_terminal]
    # The parent has logged what there is to say about the model, and logs outcomes.
    logger.setLevel(logging.ERROR)
    with suppress(KeyboardInterrupt, EOFError, OSError), sigterm_as_exception():
        try:
            network = load_model(model, options.threads)
        except UserError as error:
            connection.send(error)
            return
        logger.setLevel(logging.WARNING)
        while True:
            scan, name = connection.recv()
            batch = Batch([(scan, name)], network, options)
            batch.predict(scan, name)
            connection.send(batch.outcomes[name])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
