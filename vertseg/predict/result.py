"""Results of `vertseg predict`, a JSON file for each scan, as result.schema.json describes it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertseg.anatomy.labels import RANK
from vertseg.core.errors import UserError
from vertseg.predict.stated_files import read_stated

FORMAT = "vertseg-result-1"

GRADE_WORDS = ("none", "mild", "moderate", "severe")
"""Genant's words for grades 0 to 3."""


@dataclass(frozen=True)
class Result:
    """Result of one scan.

    Attributes:
        scan: name of the scan.
        source: file or folder of the scan, if stated.
        error: reason of the failure; None if the scan was predicted.
        model: name, sha256 and runtime of the network.
        decoding: rule by which the network's logits became labels, if stated.
        outlines: where outlines come from; results that do not state it have the network's.
        geometry: shape, spacing_mm, orientation and field_of_view_mm of the scan.
        verdict: "done", "check" or "doubtful" by its warnings, or "corrected", if stated.
        warnings: reasons for doubt, each with a message in plain words.
        vertebrae: measures of each vertebra, from C1 downwards.
        levels: probabilities of the vertebrae's levels together, if stated.
        summary: summary of the spine.
        shape: the spine's curves, slips and discs.
        calibration: from HU to bone density, and the tissues on which it rests.
        preview: PNG file.
        viewer: script with the viewer's CT and label map.
        outputs: names of the files written for the scan, by kind.
        source_state: checksum of the names, sizes and times of the scan's files, if stated.
        dicom_wanted: kinds of DICOM objects that were asked for; None if not stated.
        version: version of vertseg that predicted the scan, if stated.
        title: words for people that tell the scan from others, without the patient's name.
        mask_sha256: SHA-256 of the label map's file, if stated.
        corrections: what readers have changed, each as `correction.schema.json` describes it.
        content: all that the file holds.
    """

    scan: str
    source: str | None
    error: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    decoding: str | None = None
    outlines: str = "network"
    geometry: Mapping[str, Any] = field(default_factory=dict)
    verdict: str | None = None
    warnings: Sequence[Mapping[str, Any]] = ()
    vertebrae: Sequence[Mapping[str, Any]] = ()
    levels: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    preview: Path | None = None
    viewer: Path | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    source_state: str | None = None
    dicom_wanted: Sequence[str] | None = None
    version: str | None = None
    title: str | None = None
    mask_sha256: str | None = None
    corrections: Sequence[Mapping[str, Any]] = ()
    content: Mapping[str, Any] = field(default_factory=dict)


def read_result(path: str | os.PathLike[str]) -> Result:
    """Read one result; the paths in it are relative to its folder.

    Raises:
        UserError: the file is missing, not JSON or of another format, or a picture or volume that
            it names is missing.
    """
    path = Path(path)
    content = read_stated(
        path,
        "result",
        FORMAT,
        "Give the *_result.json files of this version.",
        "Run vertseg predict on the scan again.",
    )
    if content["status"] == "failed":
        return Result(content["scan"], content.get("source"), content["error"] or "Unknown error.")
    outputs = {kind: name for kind, name in (content["files"] or {}).items() if name}
    preview, viewer = (_existing(path, outputs.get(kind)) for kind in ("preview", "viewer"))
    return Result(
        scan=content["scan"],
        source=content.get("source"),
        model=content.get("model") or {},
        decoding=content.get("decoding"),
        outlines=content.get("outlines") or "network",
        geometry=content.get("geometry") or {},
        verdict=content.get("verdict"),
        warnings=content["warnings"],
        vertebrae=sorted(content["vertebrae"], key=lambda one: RANK[one["label"]]),
        levels=content.get("levels") or {},
        summary=content.get("summary") or {},
        shape=content.get("shape") or {},
        calibration=content.get("calibration") or {},
        preview=preview,
        viewer=viewer,
        outputs=outputs,
        source_state=content.get("source_state"),
        dicom_wanted=content.get("dicom_wanted"),
        version=content.get("version"),
        title=content.get("title"),
        mask_sha256=content.get("mask_sha256"),
        corrections=content.get("corrections") or (),
        content=content,
    )


def _existing(result: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    path = result.parent / name
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, but {result.name} names it. Keep a scan's outputs together, or "
            "run vertseg predict on the scan again."
        )
    return path
