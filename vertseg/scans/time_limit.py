"""A limit on the processor time that reading a scan takes, whatever its files make libraries do."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files

LEAST_S = 120.0
"""Limit for the smallest scan. Whole scans take 0.1 to 20 s."""
S_PER_MIB = 0.2
"""Seconds more for each MiB of a scan's files. Whole files take a tenth of it."""


class _TooLong(BaseException):
    """The limit is reached. No `except Exception` of a library takes it for a damaged element."""


@contextmanager
def limited_time(path: Path) -> Iterator[None]:
    """Limit the processor time of a block that reads a scan.

    Outside the main thread, and on Windows, there is no limit.

    Args:
        path: an existing file or folder.

    Raises:
        UserError: the limit is reached.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "setitimer"):
        yield
        return
    seconds = LEAST_S + S_PER_MIB * _stored_bytes(path) / (1 << 20)

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except _TooLong:
        raise UserError(
            f"{path}: reading takes over {seconds:.0f} s of processor time, far more than whole "
            "files of this size do. A header or the archive may be damaged: copy or export the "
            "scan again."
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _stored_bytes(path: Path) -> int:
    """Size of a folder's files, or of a file with those beside it, which may belong to it."""
    if path.is_dir():
        files = [place / name for place, names in walk_files(path) for name in names]
    else:
        files = [path, *path.parent.iterdir()]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return total
