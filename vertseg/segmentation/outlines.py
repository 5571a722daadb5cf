"""Outlines of vertebrae at the CT's own resolution (docs/screening.md).

A network draws outlines on its own coarse cells, and mostly too wide. It knows where a vertebra is;
the CT shows where its surface lies.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.distances import depth_mm
from vertseg.anatomy.label_maps import label_boxes, labelled_box
from vertseg.core.parallel import in_threads

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Thresholds = tuple[float, float]
"""HU midway between soft tissue and a vertebra's bone, and a quarter of the way."""

STEP_MM = 2.0
"""Step of the grid on which distances and statistics are taken."""

SHELL_MM = 2.0
"""Distance outside the network's outline up to which bone is taken in."""

CORE_MM = 3.5
"""Depth below the network's outline from which all belongs to the vertebra."""

SOFT_MM = (2.5, 5.0)
"""Distances outside the network's outline in which soft tissue is looked for."""

BONE_MM = (3.0, 6.0)
"""Depths below the outline of the layers in which bone is looked for; the brighter one counts,
since a wide outline leaves little bone in a thin layer."""

SEAL_MM = 1.25
"""Half width of gaps in the surface that are closed."""

THICKEST_MM = 4.0
"""Longest voxel at which the CT shows the surface better than the network."""

STRAY_MM3 = 50
"""Smallest volume of a piece of bone that goes to the vertebra whose bone it continues."""

_LEAST_TOUCHING = 0.1
"""Smallest share of such a piece's surroundings that is bone of that vertebra."""

_MARGIN_MM = 4.0
_LEAST_SOFT_HU = -50
_BONE_PERCENTILE = 60
_LEAST_CONTRAST_HU = 50
_LEAST_STEP_HU = 40
"""Least distance of a threshold from soft tissue, for its noise."""
_LEAST_SAMPLES = 30
_POCKET_SHARE = 0.3
_LEAST_CHANGE, _MOST_CHANGE = 0.4, 1.5


@dataclass(frozen=True)
class CtOutlines:
    """A part of a label map, around all labels, with the outlines that the CT shows.

    Attributes:
        box: voxels of the part; none if there are no labels.
        mask: labels (x, y, z) of the part, of the type given.
        kept: vertebrae that keep the network's outline, with the reasons.
    """

    box: Box
    mask: NDArray
    kept: dict[int, str]


def outlines_of_ct(
    ct: NDArray, mask: NDArray, spacing_mm: Sequence[float] | Floats, threads: int = 1
) -> CtOutlines:
    """Draw the outlines of labelled vertebrae where the CT shows their surface.

    Each vertebra has its own threshold, midway between the soft tissue around it and its own bone.
    Bone above it belongs to the vertebra up to 2 mm outside the given outline, and so does all that
    lies 3.5 mm inside it. First, pieces of bone beyond a disc go to the vertebra whose bone they
    continue. Where outlines of two vertebrae touch, what is darker than a quarter of
    the way is no core. Gaps in the surface are closed and holes filled, so that marrow of low
    density is kept. Voxels between two vertebrae go to the nearer one.

    Args:
        ct: HU (x, y, z), canonical axes.
        mask: label map of the same shape.
        spacing_mm: size of a voxel along x, y and z.
        threads: number of vertebrae looked at at a time.
    """
    spacing = np.asarray(spacing_mm, dtype=float)
    whole = labelled_box(mask)
    if whole is None:
        return CtOutlines(Box.whole((0, 0, 0)), mask[:0, :0, :0], {})
    margin = np.ceil((SOFT_MM[1] + STEP_MM) / spacing).astype(int)
    # A voxel more than is looked at: what ends with this part ends with the scan.
    part = whole.widened(margin + 1, mask.shape)
    within = whole.widened(margin, mask.shape).inside(part)
    drawn, kept = _drawn(ct[part.slices], mask[part.slices], within, spacing, threads)
    return CtOutlines(part, drawn, kept)


def _drawn(
    ct: NDArray, mask: NDArray, within: Box, spacing: Floats, threads: int
) -> tuple[NDArray, dict[int, str]]:
    """Labels (x, y, z) with new outlines, and vertebrae that keep the network's, with reasons.

    Args:
        ct: HU of a part of a scan.
        mask: labels of the same part.
        within: all labelled voxels and what lies around them.
        spacing: size of a voxel in mm.
        threads: number of vertebrae looked at at a time.
    """
    refined = mask.copy("K")
    if spacing.max() > THICKEST_MM:
        reason = f"voxels of {spacing.max():.1f} mm are too long"
        return refined, dict.fromkeys(label_boxes(mask), reason)
    near = _Surroundings.of(ct, mask, within, spacing, threads)
    boxes = label_boxes(mask)
    thresholds = near.thresholds(boxes, threads)
    if strays := _strays(ct, mask, near, boxes, thresholds, threads):
        for box, inside, label in strays:
            refined[box.slices][inside] = label
        mask = refined.copy("K")
        near = near.renamed(mask)
        boxes = label_boxes(mask)
        thresholds = near.thresholds(boxes, threads)
    kept: dict[int, str] = {}
    loose: list[tuple[int, Box, Mask]] = []
    jobs = [(ct, mask, near, label, box, thresholds[label]) for label, box in boxes.items()]
    outlines = in_threads(_outline_of, jobs, threads)
    for label, outline in zip(boxes, outlines, strict=True):
        if isinstance(outline, str):
            kept[label] = outline
            continue
        part = refined[outline.region.slices]
        part[mask[outline.region.slices] == label] = 0
        part[outline.found] = label
        loose += [(label, box.moved(outline.region.start), one) for box, one in outline.others]
    _join(refined, loose)
    return refined, kept


@dataclass(frozen=True)
class _Surroundings:
    """A spine and what lies around it, on a grid of about 2 mm.

    Attributes:
        box: voxels of the scan that the grid covers.
        stride: voxels between the grid's points.
        spacing: size of a voxel in mm.
        hu: attenuation (X, Y, Z).
        nearest_point: index (X, Y, Z) of the nearest labelled point in a flat grid.
        nearest: label (X, Y, Z) of that point.
        outside_mm: distance (X, Y, Z) to the outline of that label, below 0 inside.
        depth_mm: distance (X, Y, Z) to what has no label, 0 there.
    """

    box: Box
    stride: NDArray[np.integer]
    spacing: Floats
    hu: NDArray
    nearest_point: NDArray[np.integer]
    nearest: NDArray
    outside_mm: Floats
    depth_mm: Floats

    @classmethod
    def of(
        cls, ct: NDArray, mask: NDArray, box: Box, spacing: Floats, threads: int
    ) -> "_Surroundings":
        stride = np.maximum(np.round(STEP_MM / spacing), 1).astype(int)
        steps = tuple(slice(None, None, int(step)) for step in stride)
        labels, hu = mask[box.slices][steps], ct[box.slices][steps]
        sampling = stride * spacing
        labelled = labels > 0
        (distance, indices), depth, to_nothing = in_threads(
            operator.call,
            [
                (ndimage.distance_transform_edt, ~labelled, sampling, True, True),
                (depth_mm, labelled & ~_at_another(labels), sampling),
                (depth_mm, labelled, sampling),
            ],
            threads,
        )
        nearest_point = np.ravel_multi_index(tuple(indices), labels.shape)
        half = sampling.min() / 2
        outside = np.where(labelled, half - depth, distance - half).astype(np.float32)
        depth = np.maximum(to_nothing - half, 0).astype(np.float32)
        nearest = labels.ravel()[nearest_point]
        return cls(box, stride, spacing, hu, nearest_point, nearest, outside, depth)

    def renamed(self, mask: NDArray) -> "_Surroundings":
        """The same surroundings after voxels of a mask (x, y, z) went from one label to another."""
        steps = tuple(slice(None, None, int(step)) for step in self.stride)
        labels = mask[self.box.slices][steps]
        labelled, sampling = labels > 0, self.stride * self.spacing
        depth = depth_mm(labelled & ~_at_another(labels), sampling)
        outside = np.where(labelled, sampling.min() / 2 - depth, self.outside_mm)
        nearest = labels.ravel()[self.nearest_point]
        return replace(self, nearest=nearest, outside_mm=outside.astype(np.float32))

    def thresholds(self, labels: Iterable[int], threads: int) -> dict[int, Thresholds | None]:
        """`thresholds_of` some vertebrae, so many at a time."""
        each = list(labels)
        found = in_threads(self.thresholds_of, [(label,) for label in each], threads)
        return dict(zip(each, found, strict=True))

    def thresholds_of(self, label: int) -> Thresholds | None:
        """HU midway between soft tissue and a vertebra's bone, and a quarter of the way.

        Returns:
            None if bone and soft tissue hardly differ.
        """
        mine = self.nearest == label
        away = self.outside_mm
        soft = self.hu[mine & (away > SOFT_MM[0]) & (away <= SOFT_MM[1])]
        soft = soft[soft > _LEAST_SOFT_HU]
        bands = [self.hu[mine & (away <= 0) & (away > -depth)] for depth in BONE_MM]
        if min(map(len, [soft, *bands])) < _LEAST_SAMPLES:
            return None
        low = np.median(soft)
        high = max(np.percentile(bone, _BONE_PERCENTILE) for bone in bands)
        if high - low < _LEAST_CONTRAST_HU:
            return None
        step = float(high - low)
        return float(low) + step / 2, float(low) + max(step / 4, _LEAST_STEP_HU)

    def at_voxels(self, field: NDArray, region: Box) -> Floats:
        """A field (X, Y, Z) at the voxels of a region of the scan, by linear interpolation."""
        inner = region.inside(self.box)
        matrices, near = [], []
        for start, stop, stride, count in zip(
            inner.start, inner.stop, self.stride, field.shape, strict=True
        ):
            place = np.minimum(np.arange(start, stop) / stride, count - 1)
            first, last = int(place[0]), int(np.ceil(place[-1])) + 1
            away = np.abs(place[:, None] - np.arange(first, last))
            matrices.append(np.clip(1 - away, 0, None).astype(np.float32))
            near.append(slice(first, last))
        to_x, to_y, to_z = matrices
        part = field[tuple(near)].astype(np.float32)
        along_x = (to_x @ part.reshape(part.shape[0], -1)).reshape(-1, *part.shape[1:])
        return np.matmul(to_y, along_x) @ to_z.T


def _strays(
    ct: NDArray,
    mask: NDArray,
    near: _Surroundings,
    boxes: Mapping[int, Box],
    thresholds: Mapping[int, Thresholds | None],
    threads: int,
) -> list[tuple[Box, Mask, int]]:
    """Pieces of bone that a label holds of another vertebra.

    A network's border between two bodies may lie in an end-plate. What lies beyond the disc is then
    apart from the rest of the label's bone, and continues in the neighbour's.

    Args:
        ct: HU (x, y, z).
        mask: labels (x, y, z).
        near: the spine and its surroundings.
        boxes: smallest box around each label.
        thresholds: of each label.
        threads: number of vertebrae looked at at a time.

    Returns:
        Box, voxels in it and right label of each piece.
    """
    within = near.box
    bone = np.zeros(within.shape, bool)
    for label, box in boxes.items():
        limits = thresholds[label]
        if limits is not None:
            own = (mask[box.slices] == label) & (ct[box.slices] > limits[0])
            bone[box.inside(within).slices] |= own
    jobs = [(mask, bone, within, label, box, near.spacing.prod()) for label, box in boxes.items()]
    return [stray for found in in_threads(_strays_of, jobs, threads) for stray in found]


def _strays_of(
    mask: NDArray, bone: Mask, within: Box, label: int, box: Box, voxel_mm3: float
) -> list[tuple[Box, Mask, int]]:
    """Pieces of bone (x, y, z) in the box `within` of the scan that one label holds of others."""
    parts, count = ndimage.label((mask[box.slices] == label) & bone[box.inside(within).slices])
    if count < 2:
        return []
    size = np.bincount(parts.ravel())
    size[0] = 0
    objects = ndimage.find_objects(parts)
    strays = []
    for part in np.flatnonzero(size * voxel_mm3 >= STRAY_MM3):
        if part == size.argmax():
            continue
        inner = Box.of(objects[part - 1])
        its_box = inner.moved(box.start)
        around = its_box.widened(1, mask.shape)
        inside = np.zeros(around.shape, bool)
        inside[its_box.inside(around).slices] = parts[inner.slices] == part
        ring = _dilated(inside, (True, True, True)) & ~inside
        touched = mask[around.slices][ring & bone[around.inside(within).slices]]
        others = touched[touched != label]
        if len(others) >= max(_LEAST_TOUCHING * np.count_nonzero(ring), 1):
            strays.append((around, inside, int(np.bincount(others).argmax())))
    return strays


@dataclass(frozen=True)
class _Outline:
    """One vertebra's outline in the CT.

    Attributes:
        region: voxels of the scan that were looked at.
        found: voxels (x, y, z) of the vertebra in the region.
        others: further pieces of it, with their boxes in the region.
    """

    region: Box
    found: Mask
    others: list[tuple[Box, Mask]]


def _outline_of(
    ct: NDArray,
    mask: NDArray,
    near: _Surroundings,
    label: int,
    box: Box,
    thresholds: Thresholds | None,
) -> _Outline | str:
    """A vertebra's outline in the CT, or the reason for which the network's is kept."""
    region = box.widened(np.ceil(_MARGIN_MM / near.spacing).astype(int), mask.shape)
    if thresholds is None:
        return "little contrast between bone and soft tissue"
    # All that is made here lies in this order in memory.
    given, hu = (np.ascontiguousarray(array[region.slices]) for array in (mask, ct))
    own = given == label
    free = own | (given == 0)
    bright = (hu > thresholds[0]) & free
    dense = own & (hu > thresholds[1])
    found, others = _pieces(_outlined(bright, dense, own, near, label, region, mask.shape) & free)
    before, after = np.count_nonzero(own), np.count_nonzero(found)
    if not _LEAST_CHANGE * before <= after <= _MOST_CHANGE * before:
        return "the CT's outline differs too much from the network's"
    return _Outline(region, found, others)


def _outlined(
    bright: Mask,
    dense: Mask,
    own: Mask,
    near: _Surroundings,
    label: int,
    region: Box,
    shape: Sequence[int],
) -> Mask:
    """Voxels (x, y, z) of one vertebra in its region.

    Args:
        bright: voxels above the upper threshold.
        dense: voxels of the given outline above the lower one.
        own: voxels of the given outline.
        near: the spine and its surroundings.
        label: the vertebra.
        region: voxels of the scan that the arrays cover.
        shape: of the scan.
    """
    outside = near.at_voxels(near.outside_mm, region)
    territory = near.at_voxels(near.nearest == label, region) >= 0.5
    # Two vertebrae may meet in a body, where the network misplaced a label, or in a disc.
    amid = dense & (near.at_voxels(near.depth_mm, region) >= CORE_MM)
    core = own & (outside <= -CORE_MM) | amid
    bone = territory & bright | core
    cut = [(region.start[i] == 0, region.stop[i] == shape[i]) for i in range(3)]
    return _sealed(bone, own, near.spacing, cut) & territory & (outside <= SHELL_MM)


def _at_another(labels: NDArray) -> Mask:
    """Labelled points (X, Y, Z) beside one of another label."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        one = np.moveaxis(labels, axis, 0)
        touching = (one[1:] != one[:-1]) & (one[1:] > 0) & (one[:-1] > 0)
        there = np.moveaxis(found, axis, 0)
        there[1:] |= touching
        there[:-1] |= touching
    return found


def _sealed(bone: Mask, own: Mask, spacing: Floats, cut: Sequence[tuple[bool, bool]]) -> Mask:
    """Bone (x, y, z) with all that a ball of `SEAL_MM` does not reach from outside.

    Hollows that are closed in, but lie mostly outside the given outline, are left open.

    Args:
        bone: voxels of bone.
        own: voxels of the given outline.
        spacing: size of a voxel in mm.
        cut: for each axis, whether its first and last side are those of the scan, which close.
    """
    gaps = np.maximum(np.floor(2 * SEAL_MM / spacing + 1e-6), 1).astype(int)
    crosses = [tuple(bool(n // 2 > step) for n in gaps) for step in range(int(gaps.max()) // 2)]
    odd = [bool(n % 2) for n in gaps]
    grown = bone
    for axes in crosses:
        grown = _dilated(grown, axes)
    free = ~_shifted(grown, odd, 1)
    parts, count = ndimage.label(free)
    size = np.bincount(parts.ravel(), minlength=count + 1)
    inside = np.bincount(parts[own], minlength=count + 1)
    reached = inside < _POCKET_SHARE * size
    for axis, sides in enumerate(cut):
        for end, is_scan_end in zip((0, -1), sides, strict=True):
            if not is_scan_end:
                reached[np.unique(parts.take(end, axis))] = True
    reached[0] = False
    open_ = _shifted(reached[parts], odd, -1)
    for axes in crosses:
        open_ = _dilated(open_, axes)
    return ~open_ | bone


def _dilated(mask: Mask, axes: Sequence[bool]) -> Mask:
    """A mask (x, y, z) and its neighbours on both sides along some axes."""
    result = mask.copy()
    for axis in np.flatnonzero(axes):
        there, here = np.moveaxis(result, axis, 0), np.moveaxis(mask, axis, 0)
        there[1:] |= here[:-1]
        there[:-1] |= here[1:]
    return result


def _shifted(mask: Mask, axes: Sequence[bool], step: int) -> Mask:
    """A mask (x, y, z) and its neighbours on one side, behind (1) or before (-1), along axes."""
    for axis in np.flatnonzero(axes):
        result = mask.copy()
        there, here = np.moveaxis(result, axis, 0)[::step], np.moveaxis(mask, axis, 0)[::step]
        there[1:] |= here[:-1]
        mask = result
    return mask


def _pieces(mask: Mask) -> tuple[Mask, list[tuple[Box, Mask]]]:
    """The largest part of a mask (x, y, z), and others of at least a twentieth of it.

    Returns:
        The largest part, and the others with their boxes.
    """
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask, []
    size = np.bincount(parts.ravel())
    size[0] = 0
    largest = int(size.argmax())
    boxes = ndimage.find_objects(parts)
    others = [
        (Box.of(boxes[part - 1]), parts[boxes[part - 1]] == part)
        for part in np.flatnonzero(size >= max(size.max() / 20, 1))
        if part != largest
    ]
    return parts == largest, others


def _join(mask: NDArray, loose: list[tuple[int, Box, Mask]]) -> None:
    """Give loose parts to the vertebra that they touch most, else to their own, in place.

    Args:
        mask: labels (x, y, z) without the parts.
        loose: label, box and voxels of each part.
    """
    for label, box, inside in loose:
        around = box.widened(1, mask.shape)
        place = np.zeros(around.shape, bool)
        place[box.inside(around).slices] = inside
        there = mask[around.slices]
        touched = there[_dilated(place, (True, True, True)) & ~place]
        counts = np.bincount(touched[touched > 0])
        there[place & (there == 0)] = counts.argmax() if counts.any() else label
