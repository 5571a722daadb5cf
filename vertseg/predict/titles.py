"""Titles of scans for people, without the patient's name."""

import re

from vertseg.scans.read import Scan

LONGEST = 60
"""Characters of a series' description that are shown."""

_ORDINARY = re.compile(
    "|dicom|dcm|ct|scans?|series|ser|study|studies|images?|img|im|slices|data|export"
)
"""Words of names that tell nothing about the scan: `dicom`, `CT`, `series-00001`."""


def scan_title(scan: Scan) -> str | None:
    """Title of a DICOM series: a name that tells it from others, and its description.

    The name is the scan's own. In place of one such as `dicom` stands the next folder above it with
    a telling name. A folder or description with a part of the patient's name is left out.

    Returns:
        None if the scan's own name is all there is to say.
    """
    if scan.series is None:
        return None
    header = scan.series.headers[0]
    patient = _words(str(header.get("PatientName") or ""))
    place: str | None = scan.name
    if not _telling(scan.name):
        folders = (folder.name for folder in scan.source.parents)
        place = next((name for name in folders if _telling(name)), None)
        if place and patient & _words(place):
            place = None
    description = str(header.get("SeriesDescription") or "").strip()[:LONGEST]
    if patient & _words(description):
        description = ""
    title = ": ".join(part for part in (place, description) if part)
    return None if title in ("", scan.name) else title


def _telling(name: str) -> bool:
    words = re.split(r"[\W_\d]+", name.casefold())
    return not all(_ORDINARY.fullmatch(word) for word in words)


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.split(r"[\W_]+", text) if len(word) > 1}
