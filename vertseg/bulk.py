"""What moving many bytes takes: room on the disk, and a sign of progress."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from vertseg.errors import UserError
from vertseg.logs import logger

LOG_EVERY_S = 30.0


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Check that a folder's file system has room.

    Args:
        folder: an existing folder.
        needed: bytes that will be written below it.
        purpose: what they are, for the message.

    Raises:
        UserError: less than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder.absolute()}: {purpose} needs {gigabytes(needed)}, but only "
            f"{gigabytes(free)} are free. Free some space or set data.folder to a larger disk."
        )


def gigabytes(count: int) -> str:
    """A number of bytes as text, in GB (10^9 bytes)."""
    return f"{count / 1e9:.3g} GB"


@contextmanager
def byte_progress(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how many bytes are done, the rate and the time left.

    On a terminal this is a bar; everywhere else a line in the log every half minute.

    Args:
        what: name of the work.
        total: bytes in all, or None if unknown.
        done: bytes that were there before.

    Yields:
        A function to call with the number of bytes just done.
    """
    start = last = time.monotonic()
    count = done
    with tqdm(
        desc=what,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        disable=None,
        leave=False,
    ) as bar:

        def advance(number: int) -> None:
            nonlocal count, last
            count += number
            bar.update(number)
            now = time.monotonic()
            if bar.disable and now - last >= LOG_EVERY_S:
                last = now
                # A disabled bar does not count.
                meter = tqdm.format_meter(
                    count,
                    total or 0,
                    now - start,
                    ncols=0,
                    prefix=what,
                    unit="B",
                    unit_scale=True,
                    initial=done,
                )
                logger.info("%s", meter)

        yield advance
