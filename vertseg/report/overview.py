"""What the overview says of a scan: its status, the reasons, the worst first, and what to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vertseg.dataset.layout import DICOM_KINDS
from vertseg.predict.result import Result

Status = Literal["failed", "check", "corrected", "done"]

STATUSES: dict[Status, str] = {
    "failed": "failed",
    "check": "check",
    "corrected": "corrected",
    "done": "done",
}
"""Statuses, the most urgent first, with their words."""

WORST_FIRST = (
    "no_vertebra",
    "few_vertebrae",
    "uncertain_levels",
    "no_bodies",
    "not_told_apart",
    "out_of_order",
    "gap",
    "duplicate",
    "apart",
    "low_confidence",
    "renamed",
    "field_of_view",
    "spacing",
    "header",
    "tilt",
    "unknown_range",
    *(f"no_dicom_{kind}" for kind in DICOM_KINDS),
)
"""Codes of warnings, the worst first. A code that is not among them counts as bad as a gap.

`no_bodies` is the overview's own: it speaks of the measures of all vertebrae.
"""

NO_BODIES = {
    "code": "no_bodies",
    "message": "In no vertebra were a body and a spinal canal behind it found.",
}


@dataclass(frozen=True)
class Verdict:
    """What speaks for and against a scan's result.

    Attributes:
        status: of the scan.
        reasons: why it needs a look, in words, the worst first.
    """

    status: Status
    reasons: tuple[str, ...]


def verdict(scan: Result) -> Verdict:
    """The status of a scan, and what speaks against its result.

    A scan is done if nothing does. A corrected one has been seen by a reader; what is left of its
    warnings stands beside it.
    """
    if scan.error is not None:
        return Verdict("failed", (scan.error,))
    reasons = [one["message"] for one in sorted(_warnings(scan), key=_rank)]
    if not scan.vertebrae and not reasons:
        reasons = ["No vertebra is labelled."]
    if scan.corrections:
        return Verdict("corrected", tuple(reasons))
    return Verdict("check" if reasons else "done", tuple(reasons))


def most_urgent_first(scans: Sequence[Result]) -> list[int]:
    """Indices of the scans, the most urgent first.

    They are sorted by their status, then by their worst reason, then by the probability that all
    levels are right; scans that are alike keep their order.
    """
    order = list(STATUSES)

    def urgency(index: int) -> tuple[int, int, float]:
        scan = scans[index]
        worst = min(map(_rank, _warnings(scan)), default=len(WORST_FIRST))
        all_right = scan.levels.get("all_right")
        status = order.index(verdict(scan).status)
        return status, worst, 1.0 if all_right is None else all_right

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


def _warnings(scan: Result) -> list[Mapping[str, Any]]:
    """Warnings of a scan, with that of the overview."""
    if not scan.corrections and _no_bodies(scan):
        return [NO_BODIES, *scan.warnings]
    return list(scan.warnings)


def _no_bodies(scan: Result) -> bool:
    """Whether no body was isolated in any vertebra below C2, if there are such."""
    bodies = [
        one["body_volume_ml"]
        for one in scan.vertebrae
        if one["name"] not in ("C1", "C2") and "body_volume_ml" in one
    ]
    return bool(bodies) and not any(bodies)


def _rank(warning: Mapping[str, Any]) -> int:
    code = warning.get("code")
    return WORST_FIRST.index(code if code in WORST_FIRST else "gap")
