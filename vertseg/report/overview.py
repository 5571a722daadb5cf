"""What the overview says of a scan: its status, the reasons, the worst first, and what to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vertseg.predict.result import Result
from vertseg.predict.verdict import (
    WORST_FIRST,
    badness,
    reasons_of,
    stated_severity,
    verdict_of,
)

Status = Literal["failed", "doubtful", "check", "corrected", "done"]

STATUSES: dict[Status, str] = {
    "failed": "failed",
    "doubtful": "doubtful",
    "check": "check",
    "corrected": "corrected",
    "done": "done",
}
"""Statuses, the most urgent first, with their words."""


@dataclass(frozen=True)
class Verdict:
    """What speaks for and against a scan's result.

    Attributes:
        status: of the scan.
        reasons: why it needs a look, in words, the worst first.
        notes: what stands beside good and bad results alike, in words.
    """

    status: Status
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


def verdict(scan: Result) -> Verdict:
    """The status of a scan, and what speaks against its result.

    A scan is done if nothing but notes does. A corrected one has been seen by a reader; what is
    left of its warnings stands beside it.
    """
    if scan.error is not None:
        return Verdict("failed", (scan.error,))
    reasons = [one["message"] for one in reasons_of(scan.warnings)]
    notes = tuple(one["message"] for one in scan.warnings if stated_severity(one) == "note")
    status: Status = verdict_of(map(stated_severity, scan.warnings))
    if not scan.vertebrae and not reasons:
        status, reasons = "check", ["No vertebra is labelled."]
    return Verdict("corrected" if scan.corrections else status, tuple(reasons), notes)


def most_urgent_first(scans: Sequence[Result]) -> list[int]:
    """Indices of the scans, the most urgent first.

    They are sorted by their status, then by the probability that all levels are right, those
    without one by their worst reason after the others; scans that are alike keep their order.
    """
    order = list(STATUSES)

    def urgency(index: int) -> tuple[int, float, int]:
        scan = scans[index]
        all_right = scan.levels.get("all_right") if scan.vertebrae else 0.0
        worst = min(map(badness, reasons_of(scan.warnings)), default=len(WORST_FIRST))
        status = order.index(verdict(scan).status)
        return status, 1.0 if all_right is None else all_right, worst

    return sorted(range(len(scans)), key=urgency)


def shown_columns(scans: Sequence[Result]) -> set[str]:
    """Columns of the overview that at least one scan has a value for."""
    summaries = [scan.summary for scan in scans]
    columns = {
        "vertebrae": any(scan.vertebrae for scan in scans),
        "preview": any(scan.preview for scan in scans),
        "probability": any(scan.levels.get("all_right") is not None for scan in scans),
        "t12_l3_hu": any(one.get("t12_l3_hu") is not None for one in summaries),
        "genant": any(one.get("highest_genant_grade") is not None for one in summaries),
    }
    return {name for name, shown in columns.items() if shown}
