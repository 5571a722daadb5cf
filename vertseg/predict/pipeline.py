"""Prediction of one scan: read, segment, measure, warn, write."""

import csv
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vertseg import __version__
from vertseg.anatomy.centroids import Centres, body_centres, write_centroids
from vertseg.anatomy.points import write_markups, write_points_table
from vertseg.core.errors import UserError
from vertseg.core.files import write_json
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import DICOM_KINDS, OWN_SCAN_SUFFIXES, RESULT_SUFFIX
from vertseg.predict.bids import write_label_table, write_sidecar
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
from vertseg.predict.spine_table import write_spine
from vertseg.predict.warnings import (
    PredictionWarning,
    level_probabilities,
    outline_warnings,
    tilt_warnings,
    unsure_labels,
    warnings_about,
)
from vertseg.scans.bids import participant_folder
from vertseg.scans.nifti import save_mask, write_nifti
from vertseg.scans.read import Scan, read_scan
from vertseg.scans.volumes import Volume, native_array
from vertseg.screening import SpineMeasures, measure_spine, summarise, without_coarse_outlines
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
    """

    output: Path
    force: bool = False
    dicom: frozenset[str] = frozenset()
    viewer: bool = True
    decoding: Decoding = OWN_SCANS_DECODING
    outlines: Outlines | None = None
    bids: bool = False

    @property
    def chosen_outlines(self) -> Outlines:
        """Where outlines come from."""
        return self.outlines or own_scans_outlines(self.decoding)

    def folder_of(self, name: str) -> Path:
        """Folder of a scan's files."""
        return self.output / participant_folder(name) if self.bids else self.output


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
            _publish(folder, target, name)
    except OSError as error:
        raise UserError(
            f"{options.output}: the files of {name} cannot be written ({error.strerror or error})."
        ) from error
    return result_path(target, name)


def _publish(folder: Path, output: Path, name: str) -> None:
    """Move a scan's files to their places, the result last: where it exists, all others do."""
    output.mkdir(parents=True, exist_ok=True)
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
    mask: np.ndarray
    pieces: Spine
    centres: Centres
    measured: SpineMeasures
    warnings: list[PredictionWarning]

    @property
    def vertebrae(self) -> list[dict[str, Any]]:
        """Confidence, probability of the level and measures of each vertebra."""
        confidence, certainty = self.pieces.confidence, self.pieces.certainty
        return [
            {
                "confidence": confidence[one.label],
                "probability": certainty.right.get(one.label) if certainty else None,
                **asdict(one),
            }
            for one in self.measured.vertebrae
        ]

    @property
    def spine(self) -> dict[str, Any]:
        """Measures of the spine as a whole: summary, shape and calibration."""
        return {
            "summary": asdict(summarise(self.measured.vertebrae)),
            "shape": asdict(self.measured.shape),
            "calibration": asdict(self.measured.calibration),
        }


def _predict(scan: Scan, model: Model, options: Options, watch: Stopwatch) -> _Prediction:
    volume = scan.volume
    with watch.phase("segment"):
        outlines = options.chosen_outlines
        segmented = segment_ct(model, volume, options.decoding, outlines)
        mask, spine, kept = segmented.mask, segmented.spine, segmented.kept_outlines
    with watch.phase("measure"):
        centres = body_centres(mask, volume.affine)
        unsure = unsure_labels(spine.confidence)
        from_ct = set() if kept is None else set(centres) - kept.keys()
        measured = without_coarse_outlines(
            measure_spine(volume, mask, unsure, spine.cell_mm, _tube_voltage_kv(scan), from_ct),
            spine.cell_mm,
            kept,
        )
    return _Prediction(
        scan=scan,
        model=model,
        decoding=options.decoding,
        outlines=outlines,
        mask=mask,
        pieces=spine,
        centres=centres,
        measured=measured,
        warnings=[
            *warnings_about(volume, spine, centres, model.trained),
            *outline_warnings(kept),
            *tilt_warnings(scan),
        ],
    )


def _tube_voltage_kv(scan: Scan) -> float | None:
    """The tube's peak voltage as the scan's DICOM header states it; None if it states none."""
    if not scan.series:
        return None
    try:
        voltage = float(scan.series.headers[0].get("KVP") or 0)
    except (TypeError, ValueError):
        return None
    return voltage if voltage > 0 else None


def _write(
    prediction: _Prediction, options: Options, folder: Path, watch: Stopwatch, state: str
) -> None:
    scan, model = prediction.scan, prediction.model
    files = _file_names(prediction, options)
    paths = {kind: folder / name for kind, name in files.items()}
    _write_files(prediction, paths, watch)
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
    not_written = _write_dicom(prediction, paths, watch)
    write_json(
        result_path(folder, scan.name),
        {
            "format": FORMAT,
            "notice": RESEARCH_USE_ONLY,
            "scan": scan.name,
            "source": shown_source(scan.source),
            "source_state": state,
            "version": __version__,
            "status": "done",
            "model": {"name": model.name, "sha256": model.sha256, "runtime": model.runtime},
            "decoding": prediction.decoding,
            "outlines": prediction.outlines,
            "dicom_wanted": sorted(options.dicom),
            "geometry": _geometry(scan.volume),
            "seconds": watch.seconds,
            "warnings": [asdict(warning) for warning in (*prediction.warnings, *not_written)],
            "vertebrae": prediction.vertebrae,
            "levels": level_probabilities(prediction.pieces.certainty),
            **prediction.spine,
            "files": {
                kind: files[kind] if kind in paths else None
                for kind in OWN_SCAN_SUFFIXES
                if kind != "bids_mask"
            },
        },
    )


def _file_names(prediction: _Prediction, options: Options) -> dict[str, str]:
    """Names of the files to write, by kind; in a BIDS data set the mask has BIDS' name."""
    scan = prediction.scan
    names = {kind: f"{scan.name}{suffix}" for kind, suffix in OWN_SCAN_SUFFIXES.items()}
    bids_mask = names.pop("bids_mask")
    left_out = _dicom_files(DICOM_KINDS)
    if scan.series and prediction.measured.vertebrae:
        left_out -= _dicom_files(options.dicom)
    if not options.viewer:
        left_out |= {"viewer_ct", "viewer_mask"}
    if not scan.tilt:
        left_out.add("straight_ct")
    if options.bids:
        names["mask"] = bids_mask
    else:
        left_out |= {"bids_sidecar", "bids_labels"}
    return {kind: name for kind, name in names.items() if kind not in left_out}


def _write_files(prediction: _Prediction, paths: dict[str, Path], watch: Stopwatch) -> None:
    """Write the files whose kinds are keys of `paths`."""
    from vertseg.figures.preview import draw_preview

    scan, mask = prediction.scan, prediction.mask
    volume, native = scan.volume, scan.volume.native
    with watch.phase("write"):
        save_mask(paths["mask"], mask, native, RESEARCH_USE_ONLY)
        write_centroids(paths["centroids"], prediction.centres, native.affine, RESEARCH_USE_ONLY)
        write_markups(paths["markups"], prediction.centres, RESEARCH_USE_ONLY)
        write_points_table(paths["points"], prediction.centres, RESEARCH_USE_ONLY)
        if "straight_ct" in paths:
            stored = native_array(volume.array, native)
            write_nifti(paths["straight_ct"], stored, native, notice=RESEARCH_USE_ONLY)
        _write_measures(paths["measures"], prediction.vertebrae)
        write_spine(paths["spine"], prediction.spine)
    with watch.phase("preview"):
        words = level_words(level_probabilities(prediction.pieces.certainty))
        draw_preview(volume, mask, paths["preview"], scan.name, words)
    if "viewer_ct" in paths:
        from vertseg.predict.viewer_volumes import write_viewer_volumes

        with watch.phase("viewer"):
            write_viewer_volumes(volume, mask, paths["viewer_ct"], paths["viewer_mask"])


def _write_dicom(
    prediction: _Prediction, paths: dict[str, Path], watch: Stopwatch
) -> list[PredictionWarning]:
    """Write the DICOM objects in `paths`; those that cannot be written leave it with a warning."""
    wanted = _dicom_files(DICOM_KINDS) & paths.keys()
    if not wanted:
        return []
    from vertseg.predict.dicom_objects import write_dicom

    with watch.phase("dicom"):
        failed = write_dicom(
            {kind: paths[kind] for kind in wanted},
            prediction.scan,
            prediction.mask,
            prediction.vertebrae,
            prediction.model.name,
        )
    for kind in wanted:
        if not paths[kind].exists():
            del paths[kind]
    return failed


def _dicom_files(kinds: Iterable[str]) -> set[str]:
    """Kinds of files of DICOM objects; a report comes with the segmentation it refers to."""
    files = {f"dicom_{kind}" for kind in kinds}
    return files | {"dicom_seg"} if "dicom_sr" in files else files


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
