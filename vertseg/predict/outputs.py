"""The files of a labelled scan, which appear together or not at all."""

import csv
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertseg.anatomy.centroids import Centres, write_centroids
from vertseg.anatomy.points import write_markups, write_points_table
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import DICOM_KINDS, RESULT_SUFFIX
from vertseg.predict.earlier import remove_outputs
from vertseg.predict.spine_table import write_spine
from vertseg.predict.titles import scan_title
from vertseg.predict.warnings import PredictionWarning
from vertseg.scans.nifti import save_mask, write_nifti
from vertseg.scans.read import Scan
from vertseg.scans.volumes import native_array
from vertseg.screening import SpineMeasures, summarise


@dataclass(frozen=True)
class Labelled:
    """A scan with its vertebrae.

    Attributes:
        scan: the scan.
        mask: label map (x, y, z) uint8, canonical axes.
        centres: body centres in mm, by label.
        vertebrae: confidence, probability of the level and measures of each vertebra, from C1
            downwards.
        measured: the same measures, and those of the spine as a whole.
        note: a word about the labels for the preview.
    """

    scan: Scan
    mask: np.ndarray
    centres: Centres
    vertebrae: Sequence[Mapping[str, Any]]
    measured: SpineMeasures
    note: str = ""

    @property
    def spine(self) -> dict[str, Any]:
        """Measures of the spine as a whole for a result: summary, shape and calibration."""
        return {
            "summary": asdict(summarise(self.measured.vertebrae)),
            "shape": asdict(self.measured.shape),
            "calibration": asdict(self.measured.calibration),
        }


class Stopwatch:
    """Seconds spent on each phase, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a block, and add it to that of earlier ones of the phase."""
        start = time.perf_counter()
        yield
        spent = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.seconds[name] = round(spent, 2)


def publish(folder: Path, output: Path, name: str) -> None:
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


def write_files(labelled: Labelled, paths: Mapping[str, Path], watch: Stopwatch) -> None:
    """Write the files whose kinds are keys of `paths`, but for those of BIDS and DICOM."""
    from vertseg.figures.preview import draw_preview

    scan, mask, centres = labelled.scan, labelled.mask, labelled.centres
    volume, native = scan.volume, scan.volume.native
    with ThreadPoolExecutor(1) as beside:
        compressed = beside.submit(save_mask, paths["mask"], mask, native, RESEARCH_USE_ONLY)
        with watch.phase("preview"):
            title = scan_title(scan) or scan.name
            draw_preview(
                volume, mask, paths["preview"], title, labelled.note, labelled.measured.shape
            )
        if "viewer" in paths:
            from vertseg.predict.viewer_volumes import write_viewer_volumes

            with watch.phase("viewer"):
                write_viewer_volumes(volume, mask, centres, paths["viewer"])
        with watch.phase("write"):
            compressed.result()
    with watch.phase("write"):
        write_centroids(paths["centroids"], centres, native.affine, RESEARCH_USE_ONLY)
        write_markups(paths["markups"], centres, RESEARCH_USE_ONLY)
        write_points_table(paths["points"], centres, RESEARCH_USE_ONLY)
        if "straight_ct" in paths:
            stored = native_array(volume.array, native)
            write_nifti(paths["straight_ct"], stored, native, notice=RESEARCH_USE_ONLY)
        write_measures(paths["measures"], labelled.vertebrae)
        write_spine(paths["spine"], labelled.spine)


def dicom_files(kinds: Iterable[str]) -> set[str]:
    """Kinds of files of DICOM objects; a report comes with the segmentation it refers to."""
    files = {f"dicom_{kind}" for kind in kinds}
    return files | {"dicom_seg"} if "dicom_sr" in files else files


def write_dicom_objects(
    labelled: Labelled, model: str, paths: dict[str, Path], watch: Stopwatch
) -> list[PredictionWarning]:
    """Write the DICOM objects in `paths`; those that cannot be written leave it with a warning."""
    wanted = dicom_files(DICOM_KINDS) & paths.keys()
    if not wanted:
        return []
    from vertseg.predict.dicom_objects import write_dicom

    with watch.phase("dicom"):
        failed = write_dicom(
            {kind: paths[kind] for kind in wanted},
            labelled.scan,
            labelled.mask,
            labelled.vertebrae,
            model,
        )
    for kind in wanted:
        if not paths[kind].exists():
            del paths[kind]
    return failed


def write_measures(path: Path, vertebrae: Sequence[Mapping[str, Any]]) -> None:
    """Write confidence and measures of each vertebra as CSV."""
    columns = [*(vertebrae[0] if vertebrae else ("label", "name")), "notice"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in vertebrae:
            suppressed = "; ".join(row["suppressed"])
            writer.writerow({**row, "suppressed": suppressed, "notice": RESEARCH_USE_ONLY})
