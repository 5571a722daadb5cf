"""A reader's correction of a scan's labels, a JSON file as correction.schema.json describes it."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertseg.anatomy.centroids import Centres
from vertseg.anatomy.labels import NAMES
from vertseg.core.errors import UserError
from vertseg.predict.result import Result
from vertseg.predict.stated_files import read_stated

FORMAT = "vertseg-correction-1"

SUFFIX = "_correction.json"
"""End of the name under which the report saves a correction."""


@dataclass(frozen=True)
class Correction:
    """A reader's correction of a scan's labels.

    Attributes:
        path: the JSON file.
        content: what the file holds.
        scan: name of the scan.
        mask_sha256: SHA-256 of the label map's file that the reader saw.
        renamed: the right label of each changed vertebra by its label; None for deleted ones.
        centres: moved body centres in mm, by the vertebra's label before the correction.
    """

    path: Path
    content: Mapping[str, Any]
    scan: str
    mask_sha256: str
    renamed: Mapping[int, int | None]
    centres: Centres


def read_correction(path: str | os.PathLike[str]) -> Correction:
    """Read a correction.

    Raises:
        UserError: the file is missing, not JSON or of another format, or contradicts itself.
    """
    path = Path(path)
    again = "Save the correction from the report again."
    content = read_stated(path, "correction", FORMAT, "Give a file that the report saved.", again)
    entries = content["vertebrae"]
    if repeated := _repeated([entry["label"] for entry in entries]):
        raise UserError(f"{path}: names {repeated} twice. {again}")
    for entry in entries:
        if entry["becomes"] is None and "centre_mm" in entry:
            raise UserError(f"{path}: deletes {NAMES[entry['label']]} and moves it. {again}")
    return Correction(
        path,
        content,
        content["scan"],
        content["mask_sha256"],
        {entry["label"]: entry["becomes"] for entry in entries},
        {
            entry["label"]: np.array(entry["centre_mm"], float)
            for entry in entries
            if "centre_mm" in entry
        },
    )


def new_labels(correction: Correction, result: Result) -> dict[int, int]:
    """The label after a correction of each vertebra of a result that is not deleted.

    Raises:
        UserError: the correction is of another scan or another state of the result, names a
            vertebra that the result lacks, or gives two vertebrae one name.
    """
    path = correction.path
    if correction.scan != result.scan:
        raise UserError(
            f"{path}: corrects {correction.scan}, not {result.scan}. Give the folder of its result."
        )
    if correction.mask_sha256 != result.mask_sha256:
        reason = (
            "was applied before, or another one was"
            if any(correction.content == one for one in result.corrections)
            else "was made for other labels of this scan than those in its result now"
        )
        raise UserError(
            f"{path}: {reason}. Correct the scan in its present report, or take the applied "
            "corrections back (--undo)."
        )
    labels = [one["label"] for one in result.vertebrae]
    if unknown := [NAMES[label] for label in correction.renamed if label not in labels]:
        raise UserError(
            f"{path}: changes {', '.join(unknown)}, which the result of {result.scan} lacks. "
            "Correct the scan in its present report."
        )
    after = {label: correction.renamed.get(label, label) for label in labels}
    kept = {label: becomes for label, becomes in after.items() if becomes is not None}
    if repeated := _repeated(list(kept.values())):
        raise UserError(
            f"{path}: two vertebrae would be {repeated}. Give each another name, or delete one."
        )
    return kept


def _repeated(labels: list[int]) -> str:
    """Names of the labels that occur more than once; "" if there are none."""
    return ", ".join(NAMES[label] for label, count in Counter(labels).items() if count > 1)
