"""A step of nnU-Net as a process: its output, its failures and its workers."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from vertseg.core.errors import UserError
from vertseg.core.logs import log_interpreter, logger

TAIL_LINES = 25
"""Lines of the log that a failure repeats on the terminal."""


@contextmanager
def nnunet_log(path: str) -> Iterator[TextIO]:
    """Redirect all output of this process and its workers to the step's log.

    nnU-Net prints, and its workers write tracebacks to the standard streams only. A failure ends
    the process, with its message and the log's last lines on the terminal.

    Yields:
        The terminal, for a progress bar.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _set_up_logger(terminal)
    _end_with_workers()
    try:
        yield terminal
    except UserError as error:
        logger.error("%s", error)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "nnunetv2":
            raise
        logger.error(
            "nnU-Net is not installed for %s. Run with --use-conda, or `make .venv-nnunet/ready` "
            "and set nnunet.python in the configuration (docs/nnunet.md).",
            sys.executable,
        )
        sys.exit(1)
    except Exception as error:
        logger.info("The step failed.", exc_info=True)
        sys.stdout.flush()
        terminal.write(
            f"ERROR: nnU-Net failed: {error}\nThe end of {path}:\n{_tail(Path(path))}\n"
            "The first error in the log is the cause. A worker that is missing without an error "
            "was most likely killed for lack of memory.\n"
        )
        sys.exit(1)
    finally:
        sys.stdout.flush()
        terminal.flush()


def _set_up_logger(terminal: TextIO) -> None:
    to_log = logging.StreamHandler(sys.stdout)
    to_log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(terminal)
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [to_log, to_terminal]
    logger.propagate = False
    log_interpreter()


def _end_with_workers() -> None:
    """Let a cancelled job end its workers, which would otherwise wait for it forever.

    A pool ends its workers by the same signal. Workers keep the default handler: a Python handler
    would never run in a worker that is about to wait for a lock. A signal that reaches a worker
    before it has that handler waits until then, and would be lost otherwise.
    """

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    def hold() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def release_worker() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    signal.signal(signal.SIGTERM, end)
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release_worker)


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines)
