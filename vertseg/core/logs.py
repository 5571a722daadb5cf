"""Logging of a workflow step: warnings and errors to the terminal, everything to the step's log."""

import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.contrib.logging import logging_redirect_tqdm

from vertseg import __version__
from vertseg.core.errors import UserError

logger = logging.getLogger("vertseg")


@contextmanager
def step_log(path: str) -> Iterator[logging.Logger]:
    """Log a step to its file; a `UserError` ends the process with its message, not a traceback."""
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [to_file, to_terminal]
    logger.propagate = False
    log_interpreter()
    try:
        with logging_redirect_tqdm([logger]):
            # tqdm's handler stands in for to_terminal but shows all levels.
            for handler in logger.handlers:
                if handler is not to_file:
                    handler.setLevel(to_terminal.level)
            yield logger
    except UserError as error:
        logger.error("%s", error)
        sys.exit(1)
    except BaseException:
        logger.exception("The step failed.")
        raise
    finally:
        to_file.close()


def log_interpreter() -> None:
    """Log the versions of this package and of Python, and the environment of a step."""
    logger.info("vertseg %s", __version__)
    logger.info("Python %s of %s", platform.python_version(), sys.prefix)
