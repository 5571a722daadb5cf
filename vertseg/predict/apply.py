"""A reader's corrections, applied: label map, centres, measures, pictures; no network needed."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vertseg.anatomy.centroids import Centres, read_centroids
from vertseg.anatomy.labels import NAMES
from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256, write_json
from vertseg.predict.bids import CORRECTED, state_correction
from vertseg.predict.correction import Correction, new_labels
from vertseg.predict.earlier import (
    ORIGINALS,
    outcome_files,
    partial_folder,
    result_path,
    source_state,
)
from vertseg.predict.outputs import (
    Labelled,
    Stopwatch,
    publish,
    write_dicom_objects,
    write_files,
)
from vertseg.predict.result import Result, read_result
from vertseg.predict.warnings import (
    COARSE_OUTLINES,
    outline_warnings,
    unsure_labels,
    warnings_after_correction,
)
from vertseg.scans.bids import is_data_set, participant_folder
from vertseg.scans.nifti import load_mask
from vertseg.scans.read import Scan, read_scan
from vertseg.screening import measure_spine, without_coarse_outlines


def apply_correction(correction: Correction, output: Path) -> Path:
    """Rewrite all files of a scan by a reader's correction; the network's own are kept.

    Args:
        correction: what the reader changed.
        output: folder of the results, or root of a BIDS data set of them.

    Returns:
        Path of the result's JSON file.

    Raises:
        UserError: the correction does not fit the result, the scan or a file of the result has
            changed or is missing, or the outputs cannot be written.
    """
    path = _result_in(output, correction.scan)
    result = read_result(path)
    labels = new_labels(correction, result)
    _check_files(result, path)
    scan = _unchanged_scan(result, path)
    cell_mm = result.model.get("cell_mm")
    if cell_mm is None:
        raise UserError(
            f"{path}: does not state the size of the network's cells, which measures depend on. "
            "Predict the scan again with this version."
        )
    watch = Stopwatch()
    mask = _relabelled(path.parent / result.outputs["mask"], scan, labels)
    centres = _moved(correction, path.parent / result.outputs["centroids"], scan, labels)
    confidence = _by_new_label(result, labels, "confidence")
    outline_confidence = _by_new_label(result, labels, "outline_confidence")
    kept = _kept_outlines(result, labels)
    measured = without_coarse_outlines(
        measure_spine(
            scan.volume,
            mask,
            unsure_labels(outline_confidence),
            cell_mm,
            scan.tube_voltage_kv,
            () if kept is None else centres.keys() - kept.keys(),
        ),
        cell_mm,
        kept,
    )
    vertebrae = [
        {
            "confidence": confidence.get(one.label),
            "outline_confidence": outline_confidence.get(one.label),
            "probability": None,
            **asdict(one),
        }
        for one in measured.vertebrae
    ]
    labelled = Labelled(scan, mask, centres, vertebrae, measured, CORRECTED)
    warnings = [
        *warnings_after_correction(result.warnings, centres, confidence),
        *outline_warnings(kept),
    ]
    try:
        with partial_folder(output, scan.name) as folder:
            paths = {kind: folder / name for kind, name in result.outputs.items()}
            write_files(labelled, paths, watch)
            if "bids_sidecar" in paths:
                sidecar = path.parent / result.outputs["bids_sidecar"]
                state_correction(sidecar, paths["bids_sidecar"])
            if "bids_labels" in paths:
                shutil.copy2(path.parent / result.outputs["bids_labels"], paths["bids_labels"])
            warnings += write_dicom_objects(labelled, str(result.model.get("name")), paths, watch)
            # Probabilities are those of the network's labels, not of the reader's.
            content = {key: value for key, value in result.content.items() if key != "levels"}
            content |= {
                "corrections": [*result.corrections, correction.content],
                "mask_sha256": file_sha256(paths["mask"]),
                "verdict": "corrected",
                "warnings": [warning.stated() for warning in warnings],
                "vertebrae": vertebrae,
                **labelled.spine,
                "files": {
                    kind: name if kind in paths else None for kind, name in content["files"].items()
                },
            }
            write_json(result_path(folder, scan.name), content)
            if not result.corrections:
                _keep_originals(result, path)
            publish(folder, path.parent, scan.name)
    except OSError as error:
        raise UserError(
            f"{output}: the files of {scan.name} cannot be written ({error.strerror or error})."
        ) from error
    return path


def undo_corrections(output: Path, name: str) -> Path:
    """Bring back the files that the network made of a corrected scan.

    Raises:
        UserError: the scan is not corrected, or its original files are missing.
    """
    path = _result_in(output, name)
    if not read_result(path).corrections:
        raise UserError(f"{path}: holds no correction that could be taken back.")
    kept = path.parent / ORIGINALS / name
    original = result_path(kept, name)
    if not original.is_file():
        raise UserError(
            f"{original}: no such file, so the network's result cannot be brought back. Predict "
            "the scan again (--force)."
        )
    read_result(original)
    try:
        with partial_folder(output, name) as folder:
            for file in kept.iterdir():
                shutil.copy2(file, folder / file.name)
            publish(folder, path.parent, name)
        shutil.rmtree(kept)
    except OSError as error:
        raise UserError(
            f"{output}: the files of {name} cannot be written ({error.strerror or error})."
        ) from error
    return path


def outcomes_in(output: Path) -> list[Path]:
    """The results and failures in a folder or a BIDS data set, sorted by name."""
    found = outcome_files(output, deep=is_data_set(output))
    return sorted(found, key=lambda path: path.name)


def _result_in(output: Path, name: str) -> Path:
    """Path of a scan's result, in a BIDS data set in the participant's folder.

    Raises:
        UserError: there is none.
    """
    path = result_path(output, name)
    if not path.exists() and is_data_set(output):
        with suppress(ValueError):  # a name of no participant: there is no such result
            path = result_path(output / participant_folder(name), name)
    if not path.exists():
        raise UserError(
            f"{path}: no such result. Give the folder that holds the result of {name}: --output "
            "DIR."
        )
    return path


def _keep_originals(result: Result, path: Path) -> None:
    """Copy a scan's files to the folder of originals; they are there whole or not at all."""
    kept = path.parent / ORIGINALS / result.scan
    partial = kept.with_name(f".{kept.name}")
    for folder in (kept, partial):
        if folder.exists():
            shutil.rmtree(folder)
    partial.mkdir(parents=True)
    for name in (path.name, *result.outputs.values()):
        shutil.copy2(path.parent / name, partial / name)
    partial.rename(kept)


def _check_files(result: Result, path: Path) -> None:
    """Refuse a result whose files are missing or whose label map is another one."""
    for kind in ("mask", "centroids"):
        if kind not in result.outputs or not (path.parent / result.outputs[kind]).is_file():
            raise UserError(f"{path}: lacks its {kind} file. Predict the scan again (--force).")
    mask = path.parent / result.outputs["mask"]
    if file_sha256(mask) != result.mask_sha256:
        raise UserError(
            f"{mask}: is not the label map of {path.name}. Bring that back, or predict the scan "
            "again (--force)."
        )


def _unchanged_scan(result: Result, path: Path) -> Scan:
    source = Path(result.source or "")
    if not os.path.exists(source):  # noqa: PTH110 - False, not an error, for impossible names
        raise UserError(
            f"{source}: no such scan, and without it nothing can be measured. {path} names it: "
            "bring it back to that place."
        )
    if result.source_state not in (None, source_state(source)):
        raise UserError(
            f"{source}: has changed since {path} was made. Predict the scan again (--force)."
        )
    return read_scan(source, result.scan)


def _relabelled(path: Path, scan: Scan, labels: Mapping[int, int]) -> np.ndarray:
    """The label map (x, y, z) uint8 with new labels; vertebrae without one become background."""
    table = np.zeros(256, np.uint8)
    for before, after in labels.items():
        table[before] = after
    return table[load_mask(path, scan.volume.native).array]


def _kept_outlines(result: Result, labels: Mapping[int, int]) -> dict[int, str] | None:
    """Vertebrae by new label that kept the network's outlines; None if all did."""
    if result.outlines == "network":
        return None
    return {
        labels[label]: "the CT does not show them"
        for warning in result.warnings
        if warning.get("code") == COARSE_OUTLINES
        for label in warning.get("labels", ())
        if labels.get(label)
    }


def _moved(correction: Correction, path: Path, scan: Scan, labels: Mapping[int, int]) -> Centres:
    """The body centres under their new labels, moved where the reader moved them."""
    volume = scan.volume
    for label, centre in correction.centres.items():
        voxel = nib.affines.apply_affine(np.linalg.inv(volume.affine), centre)
        if np.any(voxel < -0.5) or np.any(voxel > np.array(volume.array.shape) - 0.5):
            raise UserError(
                f"{correction.path}: puts the centre of {NAMES[label]} outside the scan. Save the "
                "correction from the report again."
            )
    centres = read_centroids(path, volume.native.affine) | correction.centres
    return {after: centres[before] for before, after in labels.items() if before in centres}


def _by_new_label(result: Result, labels: Mapping[int, int], key: str) -> dict[int, Any]:
    """A value that the result states of each vertebra, by its new label."""
    return {
        labels[one["label"]]: one[key]
        for one in result.vertebrae
        if one["label"] in labels and one.get(key) is not None
    }
