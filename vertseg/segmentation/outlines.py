"""Outlines of vertebrae at the CT's own resolution (docs/screening.md).

A network draws outlines on its own coarse cells, and mostly too wide. It knows where a vertebra is;
the CT shows where its surface lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.label_maps import label_boxes, labelled_box
from vertseg.core.parallel import in_threads
from vertseg.segmentation.sealing import dilated, sealed
from vertseg.segmentation.strays import find_strays
from vertseg.segmentation.surroundings import (
    SOFT_MM,
    STEP_MM,
    Floats,
    Mask,
    Surroundings,
    Thresholds,
)

SHELL_MM = 2.0
"""Distance outside the network's outline up to which bone is taken in."""

CORE_MM = 3.5
"""Depth below the network's outline from which all belongs to the vertebra."""

THICKEST_MM = 4.0
"""Longest voxel at which the CT shows the surface better than the network."""

_MARGIN_MM = 4.0
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
    near = Surroundings.of(ct, mask, within, spacing, threads)
    boxes = label_boxes(mask)
    thresholds = near.thresholds(boxes, threads)
    if strays := find_strays(ct, mask, near, boxes, thresholds, threads):
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
    near: Surroundings,
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
    near: Surroundings,
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
    return sealed(bone, own, near.spacing, cut) & territory & (outside <= SHELL_MM)


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
        touched = there[dilated(place, (True, True, True)) & ~place]
        counts = np.bincount(touched[touched > 0])
        there[place & (there == 0)] = counts.argmax() if counts.any() else label
