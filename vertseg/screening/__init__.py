"""Opportunistic screening measures from a CT and its vertebrae; see docs/screening.md."""

from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.screening.measures import VertebraMeasures, measure_vertebrae, without_coarse_heights
from vertseg.screening.summary import SpineSummary, summarise

__all__ = [
    "RESEARCH_USE_ONLY",
    "SpineSummary",
    "VertebraMeasures",
    "measure_vertebrae",
    "summarise",
    "without_coarse_heights",
]
