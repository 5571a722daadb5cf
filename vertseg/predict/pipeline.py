"""Prediction of one scan: read, segment, measure, warn, write."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib

from vertseg import __version__
from vertseg.anatomy.centroids import body_centres
from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256, write_json
from vertseg.core.logs import logger
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import DICOM_KINDS, OWN_SCAN_SUFFIXES
from vertseg.predict.bids import write_label_table, write_sidecar
from vertseg.predict.certainty import status_words
from vertseg.predict.earlier import (
    failure_path,
    partial_folder,
    refuse_existing,
    result_path,
    shown_source,
    source_state,
)
from vertseg.predict.outputs import (
    Labelled,
    Stopwatch,
    dicom_files,
    publish,
    write_dicom_objects,
    write_files,
)
from vertseg.predict.result import FORMAT
from vertseg.predict.titles import scan_title
from vertseg.predict.verdict import verdict_of
from vertseg.predict.warnings import (
    PredictionWarning,
    body_warnings,
    hu_warnings,
    level_probabilities,
    outline_warnings,
    tilt_warnings,
    unsure_labels,
    warnings_about,
)
from vertseg.scans.bids import participant_folder
from vertseg.scans.read import Scan, read_scan
from vertseg.scans.volumes import Volume
from vertseg.screening import measure_spine, without_coarse_outlines
from vertseg.segmentation.model import Model
from vertseg.segmentation.pieces import Spine
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import (
    OWN_SCANS_DECODING,
    Decoding,
    Outlines,
    own_scans_outlines,
)


@dataclass(frozen=True)
class Options:
    """Settings of a prediction.

    Attributes:
        output: folder of all outputs.
        force: replace outputs of an earlier call.
        dicom: kinds of DICOM objects to write if the scan is a DICOM series, of `DICOM_KINDS`.
        viewer: also write small volumes for the report's viewer.
        decoding: rule by which the network's logits become labels.
        outlines: where outlines come from; None: as is usual with the decoding.
        bids: write a BIDS derivative data set; names of scans are then made of its entities.
        threads: number of threads besides those of the network, which has its own.
    """

    output: Path
    force: bool = False
    dicom: frozenset[str] = frozenset()
    viewer: bool = True
    decoding: Decoding = OWN_SCANS_DECODING
    outlines: Outlines | None = None
    bids: bool = False
    threads: int = 1

    @property
    def chosen_outlines(self) -> Outlines:
        """Where outlines come from."""
        return self.outlines or own_scans_outlines(self.decoding)

    def folder_of(self, name: str) -> Path:
        """Folder of a scan's files."""
        return self.output / participant_folder(name) if self.bids else self.output


def predict_scan(path: str | os.PathLike[str], name: str, model: Model, options: Options) -> Path:
    """Predict one scan and write all of its outputs or none.

    Args:
        path: the scan, in any format that `vertseg.scans` reads.
        name: stem of the outputs' names.
        model: the network.
        options: settings.

    Returns:
        Path of the result's JSON file.

    Raises:
        UserError: the scan cannot be used, outputs exist already, or they cannot be written.
    """
    target = options.folder_of(name)
    if not options.force:
        refuse_existing(target, name)
    watch = Stopwatch()
    state = source_state(path)
    try:
        with partial_folder(options.output, name) as folder:
            with watch.phase("read"):
                scan = read_scan(path, name)
            prediction = _predict(scan, model, options, watch)
            _write(prediction, options, folder, watch, state)
            publish(folder, target, name)
    except OSError as error:
        raise UserError(
            f"{options.output}: the files of {name} cannot be written ({error.strerror or error})."
        ) from error
    return result_path(target, name)


def write_failure(output: Path, name: str, source: str | os.PathLike[str], error: str) -> Path:
    """Write the reason for which a scan has no result.

    Args:
        output: folder of the scan's files.
        name: stem of the outputs' names.
        source: the scan.
        error: reason of the failure.

    Returns:
        Path of the failure's JSON file.
    """
    path = failure_path(output, name)
    write_json(
        path,
        {
            "format": FORMAT,
            "notice": RESEARCH_USE_ONLY,
            "scan": name,
            "source": shown_source(source),
            "version": __version__,
            "status": "failed",
            "error": error.encode("utf-8", "backslashreplace").decode("utf-8"),
        },
    )
    return path


@dataclass(frozen=True)
class _Prediction:
    scan: Scan
    model: Model
    decoding: Decoding
    outlines: Outlines
    labelled: Labelled
    pieces: Spine
    warnings: list[PredictionWarning]


def _predict(scan: Scan, model: Model, options: Options, watch: Stopwatch) -> _Prediction:
    volume = scan.volume
    with watch.phase("segment"):
        outlines = options.chosen_outlines
        segmented = segment_ct(model, volume, options.decoding, outlines, options.threads)
        mask, spine, kept = segmented.mask, segmented.spine, segmented.kept_outlines
    with watch.phase("measure"):
        centres = body_centres(mask, volume.affine, options.threads)
        unsure = unsure_labels(spine.outline_confidence)
        from_ct = set() if kept is None else set(centres) - kept.keys()
        measured = without_coarse_outlines(
            measure_spine(
                volume,
                mask,
                unsure,
                spine.cell_mm,
                scan.tube_voltage_kv,
                from_ct,
                options.threads,
            ),
            spine.cell_mm,
            kept,
        )
    warnings = [
        *warnings_about(volume, spine, centres, model.trained),
        *body_warnings(measured.vertebrae),
        *hu_warnings(measured),
        *outline_warnings(kept),
        *tilt_warnings(scan),
    ]
    verdict = verdict_of(one.severity for one in warnings)
    levels = level_probabilities(spine.certainty)
    return _Prediction(
        scan=scan,
        model=model,
        decoding=options.decoding,
        outlines=outlines,
        labelled=Labelled(
            scan=scan,
            mask=mask,
            centres=centres,
            vertebrae=[
                {
                    "confidence": spine.confidence[one.label],
                    "outline_confidence": spine.outline_confidence[one.label],
                    "probability": spine.certainty.right.get(one.label)
                    if spine.certainty
                    else None,
                    **asdict(one),
                }
                for one in measured.vertebrae
            ],
            measured=measured,
            note=f"Verdict: {status_words(verdict, levels)}",
        ),
        pieces=spine,
        warnings=warnings,
    )


def _write(
    prediction: _Prediction, options: Options, folder: Path, watch: Stopwatch, state: str
) -> None:
    scan, model = prediction.scan, prediction.model
    files = _file_names(prediction, options)
    paths = {kind: folder / name for kind, name in files.items()}
    write_files(prediction.labelled, paths, watch)
    if options.bids:
        stated = {"Name": model.name, "SHA256": model.sha256}
        write_sidecar(
            paths["bids_sidecar"],
            scan.source,
            options.output,
            stated,
            prediction.decoding,
            prediction.outlines,
        )
        write_label_table(paths["bids_labels"])
    not_written = write_dicom_objects(prediction.labelled, model.name, paths, watch)
    warnings = [*prediction.warnings, *not_written, *_no_series(scan, options)]
    write_json(
        result_path(folder, scan.name),
        {
            "format": FORMAT,
            "notice": RESEARCH_USE_ONLY,
            "scan": scan.name,
            "title": scan_title(scan),
            "source": shown_source(scan.source),
            "source_state": state,
            "version": __version__,
            "status": "done",
            "model": {
                "name": model.name,
                "sha256": model.sha256,
                "runtime": model.runtime,
                "precision": model.precision,
                "cell_mm": round(prediction.pieces.cell_mm, 4),
            },
            "decoding": prediction.decoding,
            "outlines": prediction.outlines,
            "dicom_wanted": sorted(options.dicom),
            "geometry": _geometry(scan.volume),
            "mask_sha256": file_sha256(paths["mask"]),
            "seconds": watch.seconds,
            "verdict": verdict_of(one.severity for one in warnings),
            "warnings": [one.stated() for one in warnings],
            "vertebrae": prediction.labelled.vertebrae,
            "levels": level_probabilities(prediction.pieces.certainty),
            **prediction.labelled.spine,
            "files": {
                kind: files[kind] if kind in paths else None
                for kind in OWN_SCAN_SUFFIXES
                if kind != "bids_mask"
            },
        },
    )


def _no_series(scan: Scan, options: Options) -> list[PredictionWarning]:
    """A note for each DICOM object that was asked for of a scan that is no DICOM series."""
    if scan.series or not options.dicom:
        return []
    message = "No DICOM object was written: the scan is no DICOM series."
    logger.warning("%s: %s", scan.source, message)
    return [PredictionWarning(f"no_dicom_{kind}", (), message) for kind in sorted(options.dicom)]


def _file_names(prediction: _Prediction, options: Options) -> dict[str, str]:
    """Names of the files to write, by kind; in a BIDS data set the mask has BIDS' name."""
    scan = prediction.scan
    names = {kind: f"{scan.name}{suffix}" for kind, suffix in OWN_SCAN_SUFFIXES.items()}
    bids_mask = names.pop("bids_mask")
    left_out = dicom_files(DICOM_KINDS)
    if scan.series and prediction.labelled.vertebrae:
        left_out -= dicom_files(options.dicom)
    if not options.viewer:
        left_out.add("viewer")
    if not scan.tilt:
        left_out.add("straight_ct")
    if options.bids:
        names["mask"] = bids_mask
    else:
        left_out |= {"bids_sidecar", "bids_labels"}
    return {kind: name for kind, name in names.items() if kind not in left_out}


def _geometry(volume: Volume) -> dict[str, Any]:
    spacing = nib.affines.voxel_sizes(volume.native.affine)
    return {
        "shape": list(volume.native.shape),
        "spacing_mm": [round(float(step), 4) for step in spacing],
        "orientation": "".join(nib.aff2axcodes(volume.native.affine)),
        "field_of_view_mm": [
            round(float(n * step), 1) for n, step in zip(volume.native.shape, spacing, strict=True)
        ],
    }
