"""Independent random streams for the stages of a phantom."""

from dataclasses import dataclass, fields
from typing import Self

from numpy.random import Generator, SeedSequence, default_rng


@dataclass(frozen=True)
class RandomStreams:
    """One random generator for each stage of a scan.

    The draws of a stream follow from the scan's seed and the stream's position below, and from no
    other stream. Append new streams at the end and keep all others in place: a stream that moves
    changes every phantom.
    """

    anatomy: Generator
    view: Generator
    landmarks: Generator
    bones: Generator
    tissue: Generator
    scan: Generator
    degeneration: Generator
    viscera: Generator
    surroundings: Generator
    limb: Generator
    acquisition: Generator

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """All streams of the scan with this seed, at their beginning."""
        return cls(*map(default_rng, SeedSequence(seed).spawn(len(fields(cls)))))
