"""Prediction of many scans into one folder, where each fails alone and finished ones are kept."""

import errno
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.dataset.layout import REPORT_NAME
from vertseg.predict.certainty import status_words, worst_reason
from vertseg.predict.earlier import (
    earlier_result,
    failure_path,
    remove_leftovers,
    remove_partial,
    result_path,
    shown_source,
)
from vertseg.predict.pipeline import Options, predict_scan, write_failure
from vertseg.predict.result import Result, read_result
from vertseg.predict.workers import LEAST_SCANS, WORKERS, predict_in_workers
from vertseg.segmentation.model import Model

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".vertseg.lock"

ScanPath = str | os.PathLike[str]


class Batch:
    """Prediction of some scans with one model and one output folder.

    Args:
        scans: path and name of each scan.
        model: the network.
        options: settings.
        model_file: where the network comes from; None: it is the shipped one.

    Attributes:
        outcomes: results and failures by name, for the report.
        kept: names of the scans that had a result already.
    """

    def __init__(
        self,
        scans: Sequence[tuple[ScanPath, str]],
        model: Model,
        options: Options,
        model_file: Path | None = None,
    ) -> None:
        self.scans = scans
        self.model = model
        self.options = options
        self.model_file = model_file
        self.outcomes: dict[str, Path | Result] = {}
        self.kept: list[str] = []

    @property
    def failed(self) -> list[str]:
        """Names of the scans that failed."""
        return [name for name, one in self.outcomes.items() if isinstance(one, Result)]

    @property
    def done(self) -> list[Path | Result]:
        """Results and failures so far, in the order of the scans."""
        return [self.outcomes[name] for _, name in self.scans if name in self.outcomes]

    def keep_finished(self) -> None:
        """Take over results of earlier calls; a result of other settings is a failure."""
        if self.options.force:
            self._name_losses()
            return
        for scan, name in self.scans:
            folder = self.options.folder_of(name)
            path = result_path(folder, name)
            with self._own_failure(scan, name):
                if earlier_result(
                    path,
                    scan,
                    self.model.sha256,
                    self.options.decoding,
                    self.options.chosen_outlines,
                    self.options.dicom,
                ):
                    self.outcomes[name] = path
                    self.kept.append(name)
                    failure_path(folder, name).unlink(missing_ok=True)
                    self._log_result(name, "kept from an earlier call: ")

    def _name_losses(self) -> None:
        """Warn of results that a new one will replace, and that no call can make again."""
        for scan, name in self.scans:
            path = result_path(self.options.folder_of(name), name)
            try:
                result = read_result(path)
            except UserError:  # none, or one that cannot be read
                continue
            if result.corrections:
                logger.warning("%s: a new result replaces a reader's corrections.", path)
            if result.source != shown_source(scan):
                logger.warning(
                    "%s: a new result, of %s, replaces that of another scan, %s.",
                    path, shown_source(scan), result.source,
                )  # fmt: skip

    def predict_all(self) -> Generator[str, None, None]:
        """Predict all scans without an outcome, many of them in two processes.

        Yields:
            The name of each scan that has been predicted or failed.
        """
        left = [(scan, name) for scan, name in self.scans if name not in self.outcomes]
        if self.options.threads < WORKERS or len(left) < LEAST_SCANS:
            for scan, name in left:
                self.predict(scan, name)
                self._log_result(name)
                yield name
            return
        with closing(predict_in_workers(left, self.model_file, self.options)) as outcomes:
            for (scan, name), outcome in outcomes:
                with self._own_failure(scan, name):
                    if outcome is None:
                        remove_partial(self.options.output, name)
                        raise UserError(
                            f"{scan}: its process was killed, most likely for lack of memory. Give "
                            "the scan alone."
                        )
                    self.outcomes[name] = outcome
                self._log_result(name)
                yield name

    def predict(self, scan: ScanPath, name: str) -> None:
        """Predict a scan; any error is a failure of this scan alone."""
        with self._own_failure(scan, name):
            self.outcomes[name] = predict_scan(scan, name, self.model, self.options)

    def _log_result(self, name: str, kept: str = "") -> None:
        path = self.outcomes[name]
        if not isinstance(path, Path):
            return
        content = json.loads(path.read_bytes())
        words = status_words(content.get("verdict"), content.get("levels"))
        reason = worst_reason(content["warnings"])
        stated = "; ".join(filter(None, [words, reason])) or "no verdict"
        logger.info("%s: %s%s (%s)", name, kept, path, stated)

    @contextmanager
    def _own_failure(self, scan: ScanPath, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = log_failure(scan, error)
            self.outcomes[name] = Result(name, shown_source(scan), reason)
            folder = self.options.folder_of(name)
            # A result of an earlier call stays, and has no failure beside it.
            with suppress(OSError):
                if not result_path(folder, name).exists():
                    write_failure(folder, name, scan, reason)


def log_failure(scan: ScanPath, error: Exception) -> str:
    """Log the error that ended a scan, unforeseen ones with traceback; the reason in words."""
    if isinstance(error, UserError):
        logger.error("%s", error)
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        reason = f"{scan}: its outputs' names would be too long here. Give the scan a shorter name."
        logger.error("%s", reason)
        return reason
    if isinstance(error, MemoryError):
        reason = f"{scan}: needs more memory than this machine has free."
    else:
        reason = f"{scan}: unforeseen error ({type(error).__name__}: {error})."
    logger.error("%s", reason, exc_info=error)
    return reason


@contextmanager
def locked_output(output: Path, alone: bool = True) -> Iterator[None]:
    """Hold an output folder, so that no other call replaces its files.

    The kernel frees the lock of a process that dies.

    Args:
        output: an existing folder.
        alone: nobody else may hold it; else, others may hold it that do not want it alone, as the
            workflow's jobs, each of which has a scan of its own.

    Raises:
        UserError: another call holds the folder.
    """
    with (output / LOCK_NAME).open("a") as file:
        try:
            _lock(file, alone)
        except BlockingIOError:
            raise UserError(
                f"{output}: another call of vertseg predict, or a run of the workflow, is writing "
                "into this folder. Wait until it ends, or choose another folder for the outputs."
            ) from None
        except OSError as error:
            logger.warning(
                "%s: cannot be locked (%s). Run one call at a time.", output, error.strerror
            )
        yield


def _lock(file: IO[str], alone: bool) -> None:
    """Lock an open file until it is closed.

    Raises:
        BlockingIOError: another process holds it.
        OSError: there are no locks here.
    """
    if fcntl is None:
        raise OSError(0, "not on this system")
    fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)


def tidy(output: Path, folders: Mapping[str, Path]) -> None:
    """Remove what killed calls left in a locked output folder: hidden folders and files.

    Args:
        output: the folder.
        folders: those of the scans' own files, by the scans' names.
    """
    failures = (failure_path(folder, name) for name, folder in folders.items())
    remove_leftovers(output, [output / REPORT_NAME, *failures])
