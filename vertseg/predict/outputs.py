"""The files of a labelled scan, which appear together or not at all."""

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertseg.anatomy.centroids import Centres, write_centroids
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import RESULT_SUFFIX
from vertseg.predict.earlier import remove_outputs
from vertseg.predict.warnings import PredictionWarning
from vertseg.scans.nifti import save_mask
from vertseg.scans.read import Scan


@dataclass(frozen=True)
class Labelled:
    """A scan with its vertebrae.

    Attributes:
        scan: the scan.
        mask: label map (x, y, z) uint8, canonical axes.
        centres: body centres in mm, by label.
        vertebrae: confidence and measures of each vertebra, from C1 downwards.
        note: a word about the labels for the preview.
    """

    scan: Scan
    mask: np.ndarray
    centres: Centres
    vertebrae: Sequence[Mapping[str, Any]]
    note: str = ""


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


def publish(folder: Path, output: Path, name: str) -> None:
    """Move a scan's files to their places, the result last: where it exists, all others do."""
    remove_outputs(output, name)
    try:
        files = sorted(folder.iterdir(), key=lambda f: (f.name.endswith(RESULT_SUFFIX), f.name))
        for file in files:
            file.replace(output / file.name)
    except BaseException:
        remove_outputs(output, name)
        raise


def write_files(labelled: Labelled, paths: Mapping[str, Path], watch: Stopwatch) -> None:
    """Write the files whose kinds are keys of `paths`, but for a DICOM SEG."""
    from vertseg.figures.preview import draw_preview

    scan, mask = labelled.scan, labelled.mask
    volume, native = scan.volume, scan.volume.native
    with watch.phase("write"):
        save_mask(paths["mask"], mask, native, RESEARCH_USE_ONLY)
        write_centroids(paths["centroids"], labelled.centres, native.affine, RESEARCH_USE_ONLY)
        write_measures(paths["measures"], labelled.vertebrae)
    with watch.phase("preview"):
        draw_preview(volume, mask, paths["preview"], scan.name, labelled.note)
    if "viewer" in paths:
        from vertseg.predict.viewer_volumes import write_viewer_volumes

        with watch.phase("viewer"):
            write_viewer_volumes(volume, mask, labelled.centres, paths["viewer"])


def write_dicom_seg(
    labelled: Labelled, algorithm: str, paths: dict[str, Path], watch: Stopwatch
) -> list[PredictionWarning]:
    """Write the DICOM SEG if `paths` has one; without success, it leaves `paths` with a warning."""
    scan = labelled.scan
    if "dicom_seg" not in paths or not scan.series:
        return []
    from vertseg.scans.dicom.segmentation import write_segmentation

    path, native = paths["dicom_seg"], scan.volume.native
    try:
        with watch.phase("dicom_seg"):
            write_segmentation(path, labelled.mask, native, scan.series, algorithm)
    except UserError as error:
        del paths["dicom_seg"]
        logger.warning("%s: no DICOM SEG was written. %s", scan.source, error)
        return [PredictionWarning("no_dicom_seg", (), f"No DICOM SEG was written. {error}")]
    return []


def write_measures(path: Path, vertebrae: Sequence[Mapping[str, Any]]) -> None:
    """Write confidence and measures of each vertebra as CSV."""
    columns = [*(vertebrae[0] if vertebrae else ("label", "name")), "notice"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in vertebrae:
            suppressed = "; ".join(row["suppressed"])
            writer.writerow({**row, "suppressed": suppressed, "notice": RESEARCH_USE_ONLY})
