"""Terminal output of a run of the workflow, for the Snakefile alone; steps log by `logs`.

Snakemake shows every job with all its inputs, outputs and reasons, hundreds of files for some.
Here a job is a line. The log file in .snakemake/log/ stays complete, and so do dry runs.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

FIRST_JOBS = 6
"""Jobs of a rule that have a line each, as quick as they may be."""

PAUSE_S = 20.0
"""Time between two lines about further jobs of a rule."""

LONG_S = 60.0
"""Duration from which a job's end has a line, too; time without any line before one of progress."""


def shorten_log() -> None:
    """Shorten what Snakemake shows from now on, unless it was asked for more (--verbose)."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and handler.formatter:
            brief = BriefLog(handler.formatter)
            handler.addFilter(brief.shows)
            handler.setFormatter(brief)


class BriefLog(logging.Formatter):
    """A line for a job that starts, with how many are done, and for the end of a long one.

    Everything else, errors above all, looks as before.

    Args:
        default: formatter of all other records.
    """

    def __init__(self, default: logging.Formatter) -> None:
        super().__init__()
        self.default = default
        self.jobs: dict[int | None, tuple[str, float]] = {}
        self.started: Counter[str] = Counter()
        self.last_line: dict[str, float] = {}
        self.last_of_all = time.monotonic()
        self.done = ""

    def shows(self, record: logging.LogRecord) -> bool:
        """Whether a record has a line; handlers ask this once a record, before they format it."""
        now = time.monotonic()
        shows = self._shows(record, now)
        if shows:
            self.last_of_all = now
        return shows

    def _shows(self, record: logging.LogRecord, now: float) -> bool:
        match getattr(record, "event", None):
            case LogEvent.JOB_INFO:
                rule = getattr(record, "rule_name", "")
                name = job_name(rule, getattr(record, "wildcards", {}))
                self.jobs[getattr(record, "jobid", None)] = (name, now)
                self.started[rule] += 1
                shows = self.started[rule] <= FIRST_JOBS or now - self.last_line[rule] >= PAUSE_S
                if shows:
                    self.last_line[rule] = now
                return shows
            case LogEvent.JOB_FINISHED:
                _, start = self._job(record)
                return now - start >= LONG_S
            case LogEvent.PROGRESS:
                done, total = getattr(record, "done", 0), getattr(record, "total", 0)
                self.done = f"[{done} of {total}] "
                return done == total or now - self.last_of_all >= LONG_S
            case LogEvent.JOB_STARTED | LogEvent.GROUP_INFO:
                return False
        return record.msg != "Select jobs to execute..."

    def format(self, record: logging.LogRecord) -> str:
        """One line of what has one; of all else the text as before."""
        match getattr(record, "event", None):
            case LogEvent.JOB_INFO:
                name, _ = self._job(record)
                return f"{_clock()} {self.done}{name}"
            case LogEvent.JOB_FINISHED:
                name, start = self._job(record)
                return f"{_clock()} {name}: done in {duration(time.monotonic() - start)}"
        return self.default.format(record)

    def _job(self, record: logging.LogRecord) -> tuple[str, float]:
        """Name and start of a record's job; of one that was never announced, its number and now."""
        number = getattr(record, "jobid", getattr(record, "job_id", None))
        return self.jobs.get(number, (f"job {number}", time.monotonic()))


def job_name(rule: str, wildcards: Mapping[str, str]) -> str:
    """A job as text: train (method unet, fold 0)."""
    values = ", ".join(f"{name} {value}" for name, value in wildcards.items())
    return f"{rule} ({values})" if values else rule


def duration(seconds: float) -> str:
    """A duration as text: 2:05 min, or 1:02:05 h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
