"""Lines that a run of the workflow shows for its jobs."""

import logging
from collections.abc import Callable

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from vertseg.core import workflow_log
from vertseg.core.workflow_log import BriefLog, duration

Log = Callable[..., list[str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(workflow_log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(workflow_log.time, "strftime", lambda _: "12:00:00")

    def pass_(seconds: float) -> None:
        now[0] += seconds

    return pass_


@pytest.fixture
def log(clock: Callable[[float], None]) -> Log:
    """Logs a record; the lines shown so far."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    brief = BriefLog(logging.Formatter("as before: %(message)s"))
    handler = Lines()
    handler.addFilter(brief.shows)
    handler.setFormatter(brief)

    def record(message: str | None, **values: object) -> list[str]:
        handler.handle(logging.makeLogRecord({"msg": message, **values}))
        return lines

    return record


def start(log: Log, job: int, rule: str, **wildcards: str) -> list[str]:
    return log(
        f"Rule: {rule}", event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, wildcards=wildcards
    )


def test_a_job_is_a_line(log: Log, clock: Callable[[float], None]) -> None:
    log("Select jobs to execute...")
    log("Execute 1 jobs...", event=LogEvent.JOB_STARTED, jobs=[3])
    start(log, 3, "train", method="unet", fold="0")
    clock(59)
    lines = log("Finished jobid: 3", event=LogEvent.JOB_FINISHED, job_id=3)
    assert lines == ["12:00:00 train (method unet, fold 0)"]


def test_the_end_of_a_long_job_says_how_long_it_took(
    log: Log, clock: Callable[[float], None]
) -> None:
    start(log, 3, "table1")
    clock(125)
    lines = log("Finished jobid: 3", event=LogEvent.JOB_FINISHED, job_id=3)
    assert lines == ["12:00:00 table1", "12:00:00 table1: done in 2:05 min"]


def test_many_quick_jobs_have_few_lines(log: Log, clock: Callable[[float], None]) -> None:
    for job in range(200):
        start(log, job, "preprocess", scan=f"s{job}")
        clock(0.5)
        log("Finished", event=LogEvent.JOB_FINISHED, job_id=job)
        lines = log(None, event=LogEvent.PROGRESS, done=job + 1, total=200)
    *jobs, last = lines
    assert len(jobs) == workflow_log.FIRST_JOBS + 98 // workflow_log.PAUSE_S
    assert jobs[1] == "12:00:00 [1 of 200] preprocess (scan s1)"
    assert last == "as before: None"
    assert start(log, 201, "train")[-1] == "12:00:00 [200 of 200] train"


def test_everything_else_looks_as_before(log: Log) -> None:
    assert log("Error in rule x", event=LogEvent.JOB_ERROR) == ["as before: Error in rule x"]
    assert log("Submitted job 3.")[-1] == "as before: Submitted job 3."


def test_the_end_of_an_unknown_job_is_passed_over(log: Log) -> None:
    assert log("Finished jobid: 9", event=LogEvent.JOB_FINISHED, job_id=9) == []


def test_durations_are_minutes_or_hours() -> None:
    assert (duration(7.4), duration(3599.6)) == ("0:07 min", "1:00:00 h")
