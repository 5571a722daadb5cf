"""BIDS data sets (https://bids.neuroimaging.io): their scans, and the entities of names."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files

DESCRIPTION = "dataset_description.json"
"""Name of the file that makes a folder a BIDS data set."""

_STEM = re.compile(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9+]+)*")
_CT = re.compile(r"sub-.*_ct\.nii(?:\.gz)?")


def is_data_set(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a BIDS data set."""
    return os.path.isfile(os.path.join(path, DESCRIPTION))  # noqa: PTH113, PTH118 - no error for odd names


def data_set_of(path: str | os.PathLike[str]) -> Path | None:
    """The BIDS data set that a file lies in: the nearest folder above; None without one."""
    return next((folder for folder in Path(path).absolute().parents if is_data_set(folder)), None)


def data_set_scans(root: str | os.PathLike[str]) -> list[Path]:
    """The CTs of a BIDS data set's participants, sorted: `sub-*_ct.nii` and `.nii.gz`.

    BIDS has no folder for CTs, so they may lie in any below the participant's.

    Raises:
        UserError: there is none, or a folder cannot be read.
    """
    root = Path(root)
    participants = [one for one in sorted(root.glob("sub-*")) if one.is_dir()]
    found = [
        place / name
        for participant in participants
        for place, names in walk_files(participant)
        for name in names
        if _CT.fullmatch(name)
    ]
    if not found:
        raise UserError(
            f"{root}: a BIDS data set without CTs: no sub-*_ct.nii.gz in and below the folders of "
            f"its {len(participants)} participants. Name CTs so, or give their files."
        )
    return found


def read_description(root: str | os.PathLike[str]) -> dict[str, Any]:
    """A data set's description; empty if the file is missing or not a JSON object."""
    try:
        content = json.loads((Path(root) / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def bids_stems(names: Sequence[str]) -> list[str]:
    """Names of scans as BIDS asks, entities first: `sub-01_ses-1_run-2`.

    Names that are so stay; others become a participant's label: `p1_CT` gives `sub-p1CT`.

    Raises:
        UserError: a name has a participant, but is not made of entities; or two are the same.
    """
    stems: list[str] = []
    for name in names:
        stem = _stem(name)
        if stem.casefold() in map(str.casefold, stems):
            raise UserError(f"{name}: another scan would be {stem}, too. Rename one of the two.")
        stems.append(stem)
    return stems


def _stem(name: str) -> str:
    if _STEM.fullmatch(name):
        return name
    label = re.sub("[^A-Za-z0-9]", "", name)
    if "sub-" in name or not label:
        raise UserError(
            f"{name}: not a name that BIDS knows. Name the scan by entities, as in "
            "sub-01_ses-1_ct.nii.gz."
        )
    return f"sub-{label}"


def participant_folder(stem: str) -> Path:
    """Folder of a scan's derivatives below a data set's root: `sub-01/ses-1/anat`.

    BIDS names no folder for CT, and counts images of structure as `anat`.

    Raises:
        ValueError: the stem is not made of entities.
    """
    found = _STEM.fullmatch(stem)
    if not found:
        raise ValueError(f"{stem} is not made of BIDS entities")
    return Path(*(part for part in found.groups() if part), "anat")
