"""How much the warnings about a prediction say against it, and the verdict that follows."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from vertseg.dataset.layout import DICOM_KINDS

Severity = Literal["note", "check", "bad"]
"""A note stands beside good and bad results alike; a check is to be made before use; a bad sign was
that of a wrong level more often than not."""

Verdict = Literal["done", "check", "doubtful"]
"""Verdict on a scan's prediction: nothing but notes; something to check; something bad."""

SURE_OF_ALL = 0.95
"""Smallest probability that all levels are right at which nothing is said about them."""

DOUBTFUL = 0.5
"""Probability that all levels are right below which a wrong one is more probable than none."""

NOTES = frozenset(
    {
        "low_confidence",
        "renamed",
        "coarse_outlines",
        "field_of_view",
        "spacing",
        "tilt",
        "unknown_range",
        "unlike_hu",
        *(f"no_dicom_{kind}" for kind in DICOM_KINDS),
    }
)
"""Codes of warnings that are as common where all levels are right, or do not speak of levels."""

BAD = frozenset({"doubtful_levels", "few_vertebrae", "not_told_apart", "out_of_order"})
"""Codes of warnings that are bad signs; all codes that are in neither are to be checked.

docs/predict.md has the counts behind both.
"""

WORST_FIRST = (
    "no_vertebra",
    "few_vertebrae",
    "doubtful_levels",
    "not_told_apart",
    "out_of_order",
    "uncertain_levels",
    "no_bodies",
    "gap",
    "second_spine",
    "duplicate",
    "apart",
    "header",
)
"""Codes of warnings that are more than notes, the worst first. Others count as bad as a gap."""

_VERDICTS: dict[Severity, Verdict] = {"bad": "doubtful", "check": "check", "note": "done"}


def level_code(all_right: float) -> str:
    """Code of the warning about the probability that all levels are right; "" for none."""
    if all_right >= SURE_OF_ALL:
        return ""
    return "doubtful_levels" if all_right < DOUBTFUL else "uncertain_levels"


def severity_of(code: str) -> Severity:
    """How much a warning with this code says against a prediction."""
    if code in NOTES:
        return "note"
    return "bad" if code in BAD else "check"


def verdict_of(severities: Iterable[Severity]) -> Verdict:
    """The verdict on a prediction by the severities of its warnings: that of the worst one."""
    found = set(severities)
    return next((word for one, word in _VERDICTS.items() if one in found), "done")


def stated_severity(warning: Mapping[str, Any]) -> Severity:
    """Severity of a result's warning; results of earlier versions do not state it."""
    stated = warning.get("severity")
    return cast(Severity, stated) if stated else severity_of(warning.get("code", ""))


def reasons_of(warnings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Warnings of a result that are more than notes, the worst first."""
    return sorted((one for one in warnings if stated_severity(one) != "note"), key=badness)


def badness(warning: Mapping[str, Any]) -> int:
    """Place of a result's warning among `WORST_FIRST`."""
    code = warning.get("code")
    return WORST_FIRST.index(code if code in WORST_FIRST else "gap")
