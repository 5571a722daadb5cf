"""Imports of libraries without parts of them that nothing here uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_out(*modules: str) -> Iterator[None]:
    """Make imports of some modules fail within a block, unless they have been loaded.

    For optional parts, without which a library loads as if they were not installed.
    """
    absent = [name for name in modules if name not in sys.modules]
    # The entry None stops an import.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
