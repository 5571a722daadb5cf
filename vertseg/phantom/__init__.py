"""A digital spine-CT phantom: procedural scans with known anatomy, in VerSe's layout."""

from vertseg.phantom.dataset import ORIENTATIONS, scan_seed, write_phantom_dataset, write_verse_scan
from vertseg.phantom.generate import Phantom, generate_phantom
from vertseg.phantom.settings import OMITTABLE, PhantomSettings, preset

__all__ = [
    "OMITTABLE",
    "ORIENTATIONS",
    "Phantom",
    "PhantomSettings",
    "generate_phantom",
    "preset",
    "scan_seed",
    "write_phantom_dataset",
    "write_verse_scan",
]
