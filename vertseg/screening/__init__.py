"""Opportunistic screening measures from a CT and its vertebrae; see docs/screening.md."""

from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.screening.density import Calibration
from vertseg.screening.measures import (
    SpineMeasures,
    VertebraMeasures,
    measure_spine,
    measure_vertebrae,
    without_coarse_outlines,
)
from vertseg.screening.shape import Segment, SpineShape
from vertseg.screening.summary import SpineSummary, summarise

__all__ = [
    "RESEARCH_USE_ONLY",
    "Calibration",
    "Segment",
    "SpineMeasures",
    "SpineShape",
    "SpineSummary",
    "VertebraMeasures",
    "measure_spine",
    "measure_vertebrae",
    "summarise",
    "without_coarse_outlines",
]
