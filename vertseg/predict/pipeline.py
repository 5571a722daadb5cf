"""Prediction of one scan: read, segment, measure, warn, write."""

import csv
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vertseg.anatomy.centroids import Centres, body_centres, write_centroids
from vertseg.core.errors import UserError
from vertseg.core.files import write_json
from vertseg.core.logs import logger
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import OWN_SCAN_SUFFIXES, RESULT_SUFFIX
from vertseg.predict.certainty import level_words
from vertseg.predict.earlier import (
    failure_path,
    partial_folder,
    refuse_existing,
    remove_outputs,
    result_path,
    shown_source,
    source_state,
)
from vertseg.predict.result import FORMAT
from vertseg.predict.warnings import (
    PredictionWarning,
    level_probabilities,
    unsure_labels,
    warnings_about,
)
from vertseg.scans.nifti import save_mask
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


class Stopwatch:
    """Seconds spent on each phase, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


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
            _publish(folder, options.output, name)
    except OSError as error:
        raise UserError(
            f"{options.output}: the files of {name} cannot be written ({error.strerror or error})."
        ) from error
    return result_path(options.output, name)


def _publish(folder: Path, output: Path, name: str) -> None:
    """Move a scan's files to their places, the result last: where it exists, all others do."""
    remove_outputs(output, name)
    try:
        files = sorted(folder.iterdir(), key=lambda f: (f.name.endswith(RESULT_SUFFIX), f.name))
        for file in files:
            file.replace(output / file.name)
    except BaseException:
        remove_outputs(output, name)
        raise


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
    mask: np.ndarray
    spine: Spine
    centres: Centres
    measures: list[VertebraMeasures]
    warnings: list[PredictionWarning]

    @property
    def vertebrae(self) -> list[dict[str, Any]]:
        """Confidence, probability of the level and measures of each vertebra."""
        confidence, certainty = self.spine.confidence, self.spine.certainty
        return [
            {
                "confidence": confidence[one.label],
                "probability": certainty.right.get(one.label) if certainty else None,
                **asdict(one),
            }
            for one in self.measures
        ]


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
    return _Prediction(
        scan=scan,
        model=model,
        decoding=options.decoding,
        mask=mask,
        spine=spine,
        centres=centres,
        measures=measures,
        warnings=warnings_about(volume, spine, centres, model.trained),
    )


def _write(
    prediction: _Prediction, options: Options, folder: Path, watch: Stopwatch, state: str
) -> None:
    scan, model = prediction.scan, prediction.model
    files = {kind: f"{scan.name}{suffix}" for kind, suffix in OWN_SCAN_SUFFIXES.items()}
    if not options.viewer:
        del files["viewer_ct"], files["viewer_mask"]
    if not (options.dicom_seg and scan.series and prediction.measures):
        del files["dicom_seg"]
    paths = {kind: folder / name for kind, name in files.items()}
    _write_files(prediction, paths, watch)
    not_written = _write_dicom_seg(prediction, paths, watch)
    write_json(
        result_path(folder, scan.name),
        {
            "format": FORMAT,
            "notice": RESEARCH_USE_ONLY,
            "scan": scan.name,
            "source": shown_source(scan.source),
            "source_state": state,
            "status": "done",
            "model": {"name": model.name, "sha256": model.sha256, "runtime": model.runtime},
            "decoding": prediction.decoding,
            "dicom_seg_wanted": options.dicom_seg,
            "geometry": _geometry(scan.volume),
            "seconds": watch.seconds,
            "warnings": [asdict(warning) for warning in (*prediction.warnings, *not_written)],
            "vertebrae": prediction.vertebrae,
            "levels": level_probabilities(prediction.spine.certainty),
            "summary": asdict(summarise(prediction.measures)),
            "files": {kind: files[kind] if kind in paths else None for kind in OWN_SCAN_SUFFIXES},
        },
    )


def _write_files(prediction: _Prediction, paths: dict[str, Path], watch: Stopwatch) -> None:
    """Write the files whose kinds are keys of `paths`."""
    from vertseg.figures.preview import draw_preview

    scan, mask = prediction.scan, prediction.mask
    volume, native = scan.volume, scan.volume.native
    with watch.phase("write"):
        save_mask(paths["mask"], mask, native, RESEARCH_USE_ONLY)
        write_centroids(paths["centroids"], prediction.centres, native.affine, RESEARCH_USE_ONLY)
        _write_measures(paths["measures"], prediction.vertebrae)
    with watch.phase("preview"):
        words = level_words(level_probabilities(prediction.spine.certainty))
        draw_preview(volume, mask, paths["preview"], scan.name, words)
    if "viewer_ct" in paths:
        from vertseg.predict.viewer_volumes import write_viewer_volumes

        with watch.phase("viewer"):
            write_viewer_volumes(volume, mask, paths["viewer_ct"], paths["viewer_mask"])


def _write_dicom_seg(
    prediction: _Prediction, paths: dict[str, Path], watch: Stopwatch
) -> list[PredictionWarning]:
    """Write the DICOM SEG if `paths` has one; without success, it leaves `paths` with a warning."""
    scan = prediction.scan
    if "dicom_seg" not in paths or not scan.series:
        return []
    from vertseg.scans.dicom.segmentation import write_segmentation

    path, native = paths["dicom_seg"], scan.volume.native
    try:
        with watch.phase("dicom_seg"):
            write_segmentation(path, prediction.mask, native, scan.series, prediction.model.name)
    except UserError as error:
        del paths["dicom_seg"]
        logger.warning("%s: no DICOM SEG was written. %s", scan.source, error)
        return [PredictionWarning("no_dicom_seg", (), f"No DICOM SEG was written. {error}")]
    return []


def _write_measures(path: Path, vertebrae: Sequence[dict[str, Any]]) -> None:
    columns = [*(vertebrae[0] if vertebrae else ("label", "name")), "notice"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in vertebrae:
            suppressed = "; ".join(row["suppressed"])
            writer.writerow({**row, "suppressed": suppressed, "notice": RESEARCH_USE_ONLY})


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
