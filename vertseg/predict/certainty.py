"""How sure the levels of a scan's vertebrae are, in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from vertseg.predict.verdict import Verdict, reasons_of

SHOWN = 0.05
"""Smallest probability of a shift or of a variant that is put into words."""

_IN_WORDS = {
    "one_higher": "shifted by one, in truth one level higher",
    "one_lower": "shifted by one, in truth one level lower",
}


def level_words(levels: Mapping[str, Any] | None) -> str:
    """The probabilities in words, such as "all levels right: 83 %; no T12: 9 %"; "" if unknown."""
    if not levels or levels.get("all_right") is None:
        return ""
    likely = {
        **{words: levels.get(key) or 0.0 for key, words in _IN_WORDS.items()},
        **(levels.get("variants") or {}),
    }
    return "; ".join(
        [
            f"all levels right: {percent(levels['all_right'])}",
            *(f"{what}: {percent(p)}" for what, p in likely.items() if p >= SHOWN),
        ]
    )


def status_words(verdict: Verdict | None, levels: Mapping[str, Any] | None) -> str:
    """The verdict on a scan and its probabilities, such as "check; all levels right: 83 %"."""
    return "; ".join(filter(None, [verdict, level_words(levels)]))


def worst_reason(warnings: Sequence[Mapping[str, Any]]) -> str:
    """Message of a result's worst warning beside those that its probabilities say; "" for none."""
    beside = (one["message"] for one in reasons_of(warnings) if not one["code"].endswith("_levels"))
    return next(beside, "")


def percent(probability: float) -> str:
    """A probability in percent; only certainty is called 0 or 100 %."""
    if 0 < probability < 0.01:
        return "below 1 %"
    if 0.99 < probability < 1:
        return "above 99 %"
    return f"{probability:.0%}".replace("%", " %")
