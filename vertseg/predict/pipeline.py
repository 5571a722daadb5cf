"""Prediction of one scan: read, segment, measure, warn, write."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib

from vertseg.anatomy.centroids import body_centres
from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256, write_json
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import OWN_SCAN_SUFFIXES
from vertseg.predict.earlier import (
    failure_path,
    partial_folder,
    refuse_existing,
    result_path,
    shown_source,
    source_state,
)
from vertseg.predict.outputs import Labelled, Stopwatch, publish, write_dicom_seg, write_files
from vertseg.predict.result import FORMAT
from vertseg.predict.titles import scan_title
from vertseg.predict.warnings import PredictionWarning, unsure_labels, warnings_about
from vertseg.scans.read import Scan, read_scan
from vertseg.scans.volumes import Volume
from vertseg.screening import VertebraMeasures, measure_vertebrae, summarise, without_coarse_heights
from vertseg.segmentation.model import Model
from vertseg.segmentation.pieces import Spine
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import OWN_SCANS_DECODING, Decoding


@dataclass(frozen=True)
class Options:
    """Settings of a prediction.

    Attributes:
        output: folder of all outputs.
        force: replace outputs of an earlier call.
        dicom_seg: also write a DICOM SEG if the scan is a DICOM series.
        viewer: also write small volumes for the report's viewer.
        decoding: rule by which the network's logits become labels.
    """

    output: Path
    force: bool = False
    dicom_seg: bool = False
    viewer: bool = True
    decoding: Decoding = OWN_SCANS_DECODING


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
    if not options.force:
        refuse_existing(options.output, name)
    watch = Stopwatch()
    state = source_state(path)
    try:
        with partial_folder(options.output, name) as folder:
            with watch.phase("read"):
                scan = read_scan(path, name)
            prediction = _predict(scan, model, options, watch)
            _write(prediction, options, folder, watch, state)
            publish(folder, options.output, name)
    except OSError as error:
        raise UserError(
            f"{options.output}: the files of {name} cannot be written ({error.strerror or error})."
        ) from error
    return result_path(options.output, name)


def write_failure(output: Path, name: str, source: str | os.PathLike[str], error: str) -> Path:
    """Write the reason for which a scan has no result.

    Args:
        output: folder of all outputs.
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
    labelled: Labelled
    spine: Spine
    measures: list[VertebraMeasures]
    warnings: list[PredictionWarning]


def _predict(scan: Scan, model: Model, options: Options, watch: Stopwatch) -> _Prediction:
    volume = scan.volume
    with watch.phase("segment"):
        segmented = segment_ct(model, volume, options.decoding)
        mask, spine = segmented.mask, segmented.spine
    with watch.phase("measure"):
        centres = body_centres(mask, volume.affine)
        unsure = unsure_labels(spine.confidence)
        measures = without_coarse_heights(
            measure_vertebrae(volume, mask, unsure, spine.cell_mm), spine.cell_mm
        )
    vertebrae = [{"confidence": spine.confidence[one.label], **asdict(one)} for one in measures]
    return _Prediction(
        scan=scan,
        model=model,
        decoding=options.decoding,
        labelled=Labelled(scan, mask, centres, vertebrae),
        spine=spine,
        measures=measures,
        warnings=warnings_about(volume, spine, centres, model.trained),
    )


def _write(
    prediction: _Prediction, options: Options, folder: Path, watch: Stopwatch, state: str
) -> None:
    scan, model = prediction.scan, prediction.model
    files = {kind: f"{scan.name}{suffix}" for kind, suffix in OWN_SCAN_SUFFIXES.items()}
    if not options.viewer:
        del files["viewer"]
    if not (options.dicom_seg and scan.series and prediction.measures):
        del files["dicom_seg"]
    paths = {kind: folder / name for kind, name in files.items()}
    write_files(prediction.labelled, paths, watch)
    not_written = write_dicom_seg(prediction.labelled, model.name, paths, watch)
    write_json(
        result_path(folder, scan.name),
        {
            "format": FORMAT,
            "notice": RESEARCH_USE_ONLY,
            "scan": scan.name,
            "title": scan_title(scan),
            "source": shown_source(scan.source),
            "source_state": state,
            "status": "done",
            "model": {
                "name": model.name,
                "sha256": model.sha256,
                "runtime": model.runtime,
                "cell_mm": round(prediction.spine.cell_mm, 4),
            },
            "decoding": prediction.decoding,
            "dicom_seg_wanted": options.dicom_seg,
            "geometry": _geometry(scan.volume),
            "mask_sha256": file_sha256(paths["mask"]),
            "seconds": watch.seconds,
            "warnings": [asdict(warning) for warning in (*prediction.warnings, *not_written)],
            "vertebrae": prediction.labelled.vertebrae,
            "summary": asdict(summarise(prediction.measures)),
            "files": {kind: files[kind] if kind in paths else None for kind in OWN_SCAN_SUFFIXES},
        },
    )


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
