"""Progress of long steps, as a bar on a terminal and sparse lines in a log; disk space checks."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from vertseg.core.errors import UserError
from vertseg.core.logs import logger

LOG_EVERY_S = 30.0
"""Time between two lines in a log."""

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Iterate and show how many items are done and the time left.

    On a terminal this is a bar; everywhere else a line in the log every half minute.

    Args:
        items: the work, one item after another.
        what: name of the work.
    """
    total = len(items) if isinstance(items, Sized) else None
    start = last = time.monotonic()
    with tqdm(items, desc=what, total=total, disable=None, leave=False) as bar:
        for done, item in enumerate(bar, start=1):
            yield item
            now = time.monotonic()
            if bar.disable and now - last >= LOG_EVERY_S:
                last = now
                # A disabled bar does not count.
                meter = tqdm.format_meter(done, total or 0, now - start, ncols=0, prefix=what)
                logger.info("%s", meter)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Check that a folder's file system has room.

    Args:
        folder: an existing folder.
        needed: bytes that will be written below it.
        purpose: the work that writes them, for the message.

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
