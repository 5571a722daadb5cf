"""How much the warnings about a prediction say against it, and the verdict that follows."""

from collections.abc import Iterable
from typing import Literal

from vertseg.dataset.layout import DICOM_KINDS

Severity = Literal["note", "check", "bad"]
"""A note stands beside good and bad results alike; a check is to be made before use; a bad sign was
that of a wrong level more often than not."""

Verdict = Literal["done", "check", "doubtful"]
"""Verdict on a scan's prediction: nothing but notes; something to check; something bad."""

NOTES = frozenset(
    {
        "low_confidence",
        "renamed",
        "coarse_outlines",
        "field_of_view",
        "spacing",
        "tilt",
        "unknown_range",
        *(f"no_dicom_{kind}" for kind in DICOM_KINDS),
    }
)
"""Codes of warnings that are as common where all levels are right, or do not speak of levels."""

BAD = frozenset({"doubtful_levels", "few_vertebrae", "not_told_apart", "out_of_order"})
"""Codes of warnings that are bad signs; all codes that are in neither are to be checked.

docs/predict.md has the counts behind both.
"""

_VERDICTS: dict[Severity, Verdict] = {"bad": "doubtful", "check": "check", "note": "done"}


def severity_of(code: str) -> Severity:
    """How much a warning with this code says against a prediction."""
    if code in NOTES:
        return "note"
    return "bad" if code in BAD else "check"


def verdict_of(severities: Iterable[Severity]) -> Verdict:
    """The verdict on a prediction by the severities of its warnings: that of the worst one."""
    found = set(severities)
    return next((word for one, word in _VERDICTS.items() if one in found), "done")
