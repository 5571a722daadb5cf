"""Requests to stop a command: Ctrl-C (SIGINT) and SIGTERM, as exceptions."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM arrives, so that temporary files are removed.

    A second SIGTERM ends the process at once. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """Exit status of a command that a signal stopped: 130 for Ctrl-C, 143 for SIGTERM."""
    stopped_by = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
    return 128 + stopped_by
