"""The voxel grid of a series' slices, and the checks that they form one.

DICOM states each slice's position and axes in patient coordinates, LPS+ mm (PS3.3 C.7.6.2). A
grid needs equal slices, one above the other at equal distances; anything else is refused, since
a mask drawn on it would lie in the wrong place. So are values that contradict each other.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from vertseg.core.errors import UserError
from vertseg.scans.dicom.files import frame_count
from vertseg.scans.dicom.tilt import Tilt, tilt_of
from vertseg.scans.volumes import LONGEST_MM, MOST_BYTES, WIDEST_MM, Geometry

TILT_TOLERANCE_DEG = 1.0
"""Largest shift of slices against each other, as an angle, that counts as none."""
LARGEST_TILT_DEG = 45.0
"""Largest tilt of a gantry; scanners reach 30 degrees."""
POSITION_TOLERANCE = 0.1
POSITION_TOLERANCE_MM = 0.1
"""Largest distance of a slice from its place in an even stack: this share of the slice spacing, or
this many mm if that is more."""
GAP = 1.5
"""A space between slices this many times the usual one counts as missing slices."""
SAME_STEP = 0.1
"""Spaces that differ by at most this share count as equal in the search for parts of a scan."""
PART_STEPS = 3
"""Smallest number of equal spaces in a row that make up a part of a scan with its own spacing."""
FINEST_MM = 0.01
"""Smallest voxel size; a header in metres has smaller numbers."""
MOST_PIXELS = 8192
"""Largest number of rows or columns; scanners make up to 2048."""

_OTHER_UNITS = {
    "OD": "optical density",
    "MGML": "mg/ml",
    "Z_EFF": "effective atomic numbers",
    "ED": "electron densities",
    "EDW": "electron densities over water's",
    "PCT": "percent",
}
"""RescaleTypes of CT images, as of two energies, whose values are not HU (PS3.3 C.11.1.1.2)."""
MODIFIED_HU = "HU_MOD"
"""RescaleType of HU that a computer has changed, as by taking out contrast agent."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_SAME_POSITION_MM = 1e-3
_FARTHEST_MM = 1e5


@dataclass(frozen=True)
class Frame:
    """One slice of a series.

    Attributes:
        instance: its file's place in the list of the series' instances.
        index: its place in that file, from 0.
        name: for messages.
        shape: rows, columns.
        position_mm: centre of the first voxel, LPS+ (3,).
        axes: directions (unit vectors, LPS+) of increasing column and increasing row, (2, 3).
        spacing_mm: distance between columns, between rows.
        slope: HU per stored value.
        intercept: HU of the stored value 0.
        stated_spacing_mm: distance between slices by the header's SpacingBetweenSlices or, without
            it, SliceThickness; None if it states none.
    """

    instance: int
    index: int
    name: str
    shape: tuple[int, int]
    position_mm: np.ndarray
    axes: np.ndarray
    spacing_mm: np.ndarray
    slope: float
    intercept: float
    stated_spacing_mm: float | None

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, LPS+."""
        return np.cross(*self.axes)


def frames_of(headers: Sequence[Dataset], names: Sequence[str], series: str) -> list[Frame]:
    """All slices of a series' files, of one file a slice or of multi-frame files.

    Raises:
        UserError: a file states no usable position, axes, voxel size or rescaling, or another
            number of frames than it describes; or only some slices state a rescaling.
    """
    frames = []
    rescaled: dict[str, list[bool]] = {"RescaleSlope": [], "RescaleIntercept": []}
    for number, (header, name) in enumerate(zip(headers, names, strict=True)):
        own = header.get("PerFrameFunctionalGroupsSequence")
        groups = [header] if own is None else list(own)
        if frame_count(header) != len(groups):
            raise UserError(
                f"{series}: {name} states {frame_count(header)} frames and the places of "
                f"{len(groups)}. Export the series again as one "
                "file a slice, or as enhanced CT."
            )
        for index, group in enumerate(groups):
            label = name if own is None else f"{name}, frame {index + 1}"
            _refuse_other_unit(rescale_type(header, group), label, series)
            try:
                frames.append(_frame(number, index, label, header, group))
            except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
                raise UserError(
                    f"{series}: {label} states no usable geometry or rescaling ({error}). "
                    "Export the series again, unchanged."
                ) from error
            for keyword, present in rescaled.items():
                present.append(_rescaling(header, group, keyword) is not None)
    for keyword, present in rescaled.items():
        _refuse_partial(keyword, present, frames, series)
    return frames


def rescale_type(header: Dataset, group: Dataset) -> str:
    """The unit of a slice's values, in upper case; "" if it states none that can be read."""
    # Nothing else needs it, and pydicom may raise any exception if it is damaged.
    with suppress(Exception):
        value = _find(header, group, "PixelValueTransformationSequence", "RescaleType")
        return str(value or "").strip().upper()
    return ""


def _refuse_other_unit(unit: str, label: str, series: str) -> None:
    if unit in _OTHER_UNITS:
        raise UserError(
            f"{series}: {label} states values in {_OTHER_UNITS[unit]} (RescaleType {unit}), not "
            "HU. Give the series of the same scan that is in HU."
        )


def _refuse_partial(
    keyword: str, present: Sequence[bool], frames: Sequence[Frame], series: str
) -> None:
    if all(present) or not any(present):
        return
    raise UserError(
        f"{series}: {present.count(False)} of {len(present)} slices state no {keyword} (for "
        f"example {frames[present.index(False)].name}), the others do, so that their HU are "
        "unknown. Export the series again, unchanged."
    )


def _frame(instance: int, index: int, name: str, header: Dataset, group: Dataset) -> Frame:
    position = _find(header, group, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _find(header, group, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(header, group, "PixelMeasuresSequence", "PixelSpacing")
    slope = _rescaling(header, group, "RescaleSlope")
    intercept = _rescaling(header, group, "RescaleIntercept")
    frame = Frame(
        instance,
        index,
        name,
        (int(header.Rows), int(header.Columns)),
        _numbers(position, 3, "ImagePositionPatient"),
        _numbers(orientation, 6, "ImageOrientationPatient").reshape(2, 3),
        _numbers(spacing, 2, "PixelSpacing")[::-1],
        1.0 if slope is None else slope,
        0.0 if intercept is None else intercept,
        _stated_spacing(header, group),
    )
    lengths = np.linalg.norm(frame.axes, axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(np.dot(*frame.axes)) > 1e-2:
        raise ValueError("ImageOrientationPatient does not hold two perpendicular directions")
    if frame.spacing_mm.min() <= 0:
        raise ValueError("PixelSpacing is not positive")
    if frame.spacing_mm.min() < FINEST_MM:
        raise ValueError(f"PixelSpacing is {spacing} mm")
    if not 0 < min(frame.shape) <= max(frame.shape) <= MOST_PIXELS:
        raise ValueError(f"{frame.shape[0]} rows and {frame.shape[1]} columns")
    width_mm = float((frame.spacing_mm * frame.shape[::-1]).max())
    if width_mm > WIDEST_MM:
        raise ValueError(f"a slice {width_mm:.4g} mm wide")
    if np.abs(frame.position_mm).max() > _FARTHEST_MM:
        raise ValueError(f"ImagePositionPatient is {frame.position_mm.tolist()} mm")
    return frame


def _rescaling(header: Dataset, group: Dataset, keyword: str) -> float | None:
    """A slice's RescaleSlope or RescaleIntercept; None if it is missing or empty.

    Raises:
        ValueError: it is not a finite number, or a slope of 0.
    """
    value = _find(header, group, "PixelValueTransformationSequence", keyword)
    if value is None or value == "":
        return None
    number = float(value)
    if not np.isfinite(number) or (number == 0 and keyword == "RescaleSlope"):
        raise ValueError(f"{keyword} is {value}, so that HU are unknown")
    return number


def _stated_spacing(header: Dataset, group: Dataset) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        # Nothing else needs them, and pydicom may raise any exception if they are damaged.
        with suppress(Exception):
            value = abs(float(_find(header, group, "PixelMeasuresSequence", keyword)))
            return value if np.isfinite(value) else None
    return None


def _find(header: Dataset, group: Dataset, sequence: str, keyword: str) -> Any:
    """An attribute of a slice: in the file itself, or in its frame's or the shared groups."""
    shared = header.get("SharedFunctionalGroupsSequence")
    for place in (group, *(shared or [])):
        if place.get(sequence):
            place = place[sequence][0]
        if place.get(keyword) is not None:
            return place[keyword].value
    return None


def _numbers(value: Any, count: int, keyword: str) -> np.ndarray:
    if value is None or value == "":
        raise ValueError(f"{keyword} is missing")
    numbers = np.array(value, dtype=np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{keyword} is {value}")
    return numbers


def stack(frames: Sequence[Frame], series: str) -> tuple[list[Frame], Geometry, Tilt | None]:
    """Order slices along their normal and derive the grid they form.

    Slices that are shifted against each other (gantry tilt) form no grid of rectangular voxels; for
    them the grid is the straight one that holds all of them (see `Tilt`).

    Args:
        frames: at least two slices of one series, in any order.
        series: what the series is called in messages.

    Returns:
        The slices in order; the grid (columns, rows, slices) with its affine to RAS+ mm; and the
        tilt, or None.

    Raises:
        UserError: there is a single slice; slices differ in size, voxel size or axes, share a
            position, are missing or unevenly spaced, or are shifted against each other further
            than by a gantry's tilt; or the stack is longer than a patient.
    """
    if len(frames) < 2:
        raise UserError(f"{series}: a single slice. Give the folder of the whole series.")
    _require_same(frames, series, "size", lambda f: np.array(f.shape), 0, "{:g} x {:g} voxels")
    _require_same(frames, series, "voxel size", lambda f: f.spacing_mm, 1e-3, "{:g} x {:g} mm")
    orientation = "({:.3g}, {:.3g}, {:.3g}, {:.3g}, {:.3g}, {:.3g})"
    _require_same(frames, series, "orientation", lambda f: f.axes.ravel(), 1e-2, orientation)
    normal = frames[0].normal
    ordered = sorted(frames, key=lambda frame: float(frame.position_mm @ normal))
    positions = np.array([frame.position_mm for frame in ordered])
    heights = positions @ normal
    _refuse_shared_positions(ordered, heights, series)
    _refuse_length(ordered, heights, series)
    _refuse_parts(ordered, heights, series)
    _refuse_gaps(ordered, heights, series)
    # A line through all positions, since many headers round them.
    step, start = np.polyfit(np.arange(len(ordered)), positions, 1)
    _refuse_uneven(ordered, positions, start, step, series)

    first = ordered[0]
    rows, across = first.shape
    shape = (across, rows, len(ordered))
    in_plane = first.axes * first.spacing_mm[:, None]
    tilt = _tilt(ordered, step, series)
    if tilt:
        shape = tilt.straight_shape
        start = start - tilt.offsets[0] @ in_plane
        step = (step @ normal) * normal
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.transpose([*in_plane, step])
    affine[:3, 3] = _LPS_TO_RAS @ start
    return ordered, Geometry(shape, affine), tilt


def _require_same(
    frames: Sequence[Frame],
    series: str,
    what: str,
    of: Callable[[Frame], np.ndarray],
    tolerance: float,
    form: str,
) -> None:
    kinds: list[tuple[np.ndarray, list[Frame]]] = []
    for frame in frames:
        value = of(frame)
        for kind, members in kinds:
            if np.abs(value - kind).max() <= tolerance:
                members.append(frame)
                break
        else:
            kinds.append((value, [frame]))
    if len(kinds) > 1:
        kinds.sort(key=lambda kind: -len(kind[1]))
        listed = ", ".join(f"{len(members)} of {form.format(*v)}" for v, members in kinds[:5])
        raise UserError(
            f"{series}: the slices differ in {what}: {listed} (for example "
            f"{kinds[-1][1][0].name}). They do not form one volume: give a folder that holds only "
            "slices of one kind."
        )


def _refuse_shared_positions(ordered: list[Frame], heights: np.ndarray, series: str) -> None:
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > _SAME_POSITION_MM)
    copies = np.diff(starts, append=len(heights))
    if copies.max() == 1:
        return
    if len(set(copies.tolist())) == 1:
        raise UserError(
            f"{series}: {copies[0]} slices at each of {len(starts)} positions: a time series or "
            "several reconstructions in one. Give a folder that holds only one of them."
        )
    shared = starts[copies > 1]
    first = shared[0]
    raise UserError(
        f"{series}: several slices lie at the same position, at {len(shared)} of {len(starts)} "
        f"positions, first at {_place(ordered[first])} ({ordered[first].name} and "
        f"{ordered[first + 1].name}). Remove what does not belong to the scan."
    )


def _refuse_length(ordered: list[Frame], heights: np.ndarray, series: str) -> None:
    length = float(heights[-1] - heights[0])
    if length > LONGEST_MM:
        raise UserError(
            f"{series}: {length:.4g} mm lie between {ordered[0].name} and {ordered[-1].name}, more "
            "than a patient's length. A header may be damaged: export the series again."
        )


def _refuse_parts(ordered: list[Frame], heights: np.ndarray, series: str) -> None:
    """Refuse stacks of parts that each have their own even spacing."""
    steps = np.diff(heights)
    changes = np.flatnonzero(~_alike(steps[1:], steps[:-1])) + 1
    edges = [0, *changes.tolist(), len(steps)]
    parts = [(a, b) for a, b in itertools.pairwise(edges) if b - a >= PART_STEPS]
    spacings = np.array([np.median(steps[a:b]) for a, b in parts])
    if len(parts) < 2 or _alike(spacings.max(), spacings.min()):
        return
    listed = ", ".join(
        f"{spacing:.4g} mm from {_place(ordered[a])} to {_place(ordered[b])}"
        for spacing, (a, b) in zip(spacings[:5], parts, strict=False)
    )
    raise UserError(
        f"{series}: the scan has parts of different slice spacing: {listed}"
        f"{' and more' if len(parts) > 5 else ''}. Together they form no even grid, even if no "
        "slice is missing. Give a folder that holds one part, a reconstruction of one spacing, or "
        "the series resampled to one spacing, for example with dcm2niix, whose file with _Eq in "
        "its name can be given."
    )


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether spaces between slices are equal, but for the rounding of positions."""
    return np.abs(one - other) <= np.maximum(SAME_STEP * other, 2 * POSITION_TOLERANCE_MM)


def _refuse_gaps(ordered: list[Frame], heights: np.ndarray, series: str) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > GAP * usual)
    if not len(gaps):
        return
    listed = "; ".join(
        f"{steps[gap]:.4g} mm between {_place(ordered[gap])} and {_place(ordered[gap + 1])} "
        f"({ordered[gap].name}, {ordered[gap + 1].name})"
        for gap in gaps[:5]
    )
    lost = int(np.rint(steps[gaps] / usual - 1).sum())
    raise UserError(
        f"{series}: {lost} slices seem to be missing. Slices lie {usual:.4g} mm apart, but "
        f"{listed}{' and more' if len(gaps) > 5 else ''}. Export the whole series again."
    )


def _tilt(ordered: Sequence[Frame], step: np.ndarray, series: str) -> Tilt | None:
    """The tilt of slices whose first voxels lie one `step` (LPS mm) from each other; or None.

    Raises:
        UserError: the tilt is larger than any gantry's, or the straight grid too large.
    """
    first = ordered[0]
    along = float(step @ first.normal)
    shear_mm = step - along * first.normal
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(shear_mm), along)))
    if degrees <= TILT_TOLERANCE_DEG:
        return None
    if degrees > LARGEST_TILT_DEG:
        raise UserError(
            f"{series}: the slices are shifted against each other by {degrees:.1f} degrees, more "
            "than any gantry tilts. Give the series as the scanner reconstructed it."
        )
    rows, columns = first.shape
    tilt = tilt_of(first.axes @ shear_mm / first.spacing_mm, len(ordered), (columns, rows), degrees)
    voxels = math.prod(tilt.straight_shape)
    if voxels * np.dtype(np.int16).itemsize > MOST_BYTES:
        raise UserError(
            f"{series}: tilted by {degrees:.1f} degrees; on a straight grid it has {voxels} voxels,"
            f" over {MOST_BYTES >> 30} GiB. A header may be damaged: export the series again."
        )
    return tilt


def _refuse_uneven(
    ordered: list[Frame], positions: np.ndarray, start: np.ndarray, step: np.ndarray, series: str
) -> None:
    ideal = start + np.arange(len(ordered))[:, None] * step
    off = np.linalg.norm(positions - ideal, axis=1)
    spacing = float(np.linalg.norm(step))
    if off.max() > max(POSITION_TOLERANCE * spacing, POSITION_TOLERANCE_MM):
        worst = int(off.argmax())
        raise UserError(
            f"{series}: the slices are not evenly spaced: {ordered[worst].name} at "
            f"{_place(ordered[worst])} lies {off[worst]:.3g} mm off its place among slices "
            f"{spacing:.4g} mm apart. Export one reconstruction of equal spacing; if positions "
            "were rounded, the series with its own positions."
        )


def _place(frame: Frame) -> str:
    """A slice's coordinate along the patient axis that its normal follows most, RAS+."""
    axis = int(np.abs(frame.normal).argmax())
    return f"{'xyz'[axis]} = {(_LPS_TO_RAS @ frame.position_mm)[axis]:.1f} mm"
