"""Vertebral body centres: from masks, in VerSe's centroid JSON and in TPTBox's points.

VerSe annotates the centre of the vertebral body. A mask's centre of mass lies behind it, pulled
towards the spinous process; the body is where a vertebra is thickest, so its deepest voxels mark
it.
"""

import json
import math
import os
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.distances import core_voxels
from vertseg.anatomy.label_maps import label_boxes
from vertseg.anatomy.labels import NAMES, RANK
from vertseg.anatomy.poi import is_poi, poi_centres
from vertseg.core.errors import UserError
from vertseg.core.files import write_json
from vertseg.core.logs import logger
from vertseg.core.parallel import in_threads

Centres = dict[int, np.ndarray]
"""Label value -> point (3,) in world coordinates, mm (RAS+)."""

TOLERANCE_MM = 20.0
"""Largest distance at which VerSe counts a vertebra as identified."""

BODY_DEPTH = 0.6
"""Share of the largest depth beyond which a voxel counts as part of the body's core."""


def body_centres(mask: np.ndarray, affine: np.ndarray, threads: int = 1) -> Centres:
    """Centre of each labelled vertebra's body.

    The centre is the mean of the voxels deeper than the share `BODY_DEPTH` of the label's largest
    Euclidean depth.

    Args:
        mask: label map (x, y, z), integers.
        affine: (4, 4) voxel indices to mm.
        threads: number of vertebrae looked at at a time.

    Returns:
        World coordinates (3,) in mm by label value; background and values that name no vertebra
        are left out.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)

    def centre(label: int, box: Box) -> np.ndarray:
        inside = np.ascontiguousarray(mask[box.slices] == label)
        core = core_voxels(inside, spacing, BODY_DEPTH).mean(axis=0)
        return nib.affines.apply_affine(affine, core + np.array(box.start))

    boxes = {label: box for label, box in label_boxes(mask).items() if label in NAMES}
    return dict(zip(boxes, in_threads(centre, boxes.items(), threads), strict=True))


def read_centroids(path: str | os.PathLike[str], affine: np.ndarray) -> Centres:
    """Read VerSe's centroid JSON, or the body centres of TPTBox's points.

    The file holds the image's axis codes and one entry a vertebra, in voxels of the image's array
    order: `[{"direction": ["P", "I", "R"]}, {"label": 20, "X": 75.1, "Y": 35.0, "Z": 22.6}, ...]`.
    Entries whose coordinates are NaN mark absent vertebrae and are skipped. For TPTBox's form see
    `vertseg.anatomy.poi`.

    Args:
        path: the JSON file.
        affine: (4, 4) voxel indices to mm of the image that the file describes.

    Returns:
        World coordinates (3,) in mm by label value.

    Raises:
        UserError: the file is missing or malformed, or its direction is not the image's.
    """
    path = Path(path)
    content = _load(path)
    if is_poi(content):
        try:
            return _one_each(path, poi_centres(content, affine))
        except ValueError as error:
            raise UserError(f"{path}: not a file of TPTBox's points: {error}.") from error
    header, entries = _split(path, content)
    codes = list(nib.aff2axcodes(affine))
    if header != codes:
        raise UserError(
            f"{path}: its direction is {header}, but the image's axes are {codes}. The points are "
            "voxels of an image in the former orientation: pair the file with that image."
        )
    points = []
    for entry in entries:
        label, voxel = _parse(path, entry)
        if not np.isnan(voxel).any():
            points.append((label, nib.affines.apply_affine(affine, voxel)))
    return _one_each(path, points)


def write_centroids(
    path: str | os.PathLike[str],
    centroids_mm: Centres,
    affine: np.ndarray,
    notice: str = "",
    decimals: int = 3,
) -> None:
    """Write points as VerSe's centroid JSON, from C1 downwards.

    Args:
        path: the JSON file; it appears whole or not at all.
        centroids_mm: world coordinates (3,) in mm by label value.
        affine: (4, 4) voxel indices to mm of the image whose voxels the file counts in.
        notice: a word to the reader, kept beside `direction`, where VerSe's loader ignores it.
        decimals: decimal places of the voxel coordinates; VerSe's own files have one.
    """
    to_voxels = np.linalg.inv(affine)
    content: list[dict[str, Any]] = [{"direction": list(nib.aff2axcodes(affine))}]
    if notice:
        content[0]["notice"] = notice
    for label in sorted(centroids_mm, key=RANK.__getitem__):
        voxel = nib.affines.apply_affine(to_voxels, centroids_mm[label])
        x, y, z = (round(float(value), decimals) for value in voxel)
        content.append({"label": label, "X": x, "Y": y, "Z": z})
    write_json(path, content)


def _one_each(path: Path, points: Iterable[tuple[int, np.ndarray]]) -> Centres:
    """The points of vertebrae, of which each may have one."""
    centres: Centres = {}
    for label, point in points:
        if label not in NAMES:
            logger.warning("%s: label %d names no vertebra; its point is ignored.", path, label)
            continue
        if label in centres:
            raise UserError(f"{path}: label {label} occurs twice. Keep one point a vertebra.")
        centres[label] = point
    return centres


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such centroid file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"{path}: not JSON ({reason}). Get or write the file anew.") from None


def _split(path: Path, content: Any) -> tuple[list[str], list[Any]]:
    if not (isinstance(content, list) and content and isinstance(content[0], dict)):
        raise UserError(
            f"{path}: not a VerSe centroid file, which is a list of objects, the first of them "
            '{"direction": [three axis codes]}; for a scan without a spine that object alone.'
        )
    direction = content[0].get("direction")
    if "direction" not in content[0] and "label" in content[0]:
        raise UserError(
            f"{path}: points without axis codes, as in the challenges' (MICCAI) version of VerSe. "
            "Those points count millimetres of another grid than the image's voxels, so that axis "
            "codes added to the file would move them. Take the file of the complete release "
            "(named _ctd.json, with a direction), or give no centroids: the centres are then "
            "computed from the mask."
        )
    if not (isinstance(direction, list) and len(direction) == 3):
        raise UserError(
            f'{path}: the first entry must be {{"direction": [three axis codes]}}; add the axis '
            "codes of the image whose voxels the points count in."
        )
    return direction, content[1:]


def _parse(path: Path, entry: Any) -> tuple[int, np.ndarray]:
    try:
        label = float(entry["label"])
        voxel = np.array([float(entry[axis]) for axis in "XYZ"])
        if any(isinstance(entry[key], bool) for key in ("label", *"XYZ")):
            raise TypeError
    except (KeyError, TypeError, ValueError, OverflowError):
        label, voxel = math.nan, np.full(3, math.inf)
    absent = np.isnan(voxel)
    if not label.is_integer() or np.isinf(voxel).any() or absent.any() != absent.all():
        raise UserError(
            f"{path}: {_shortened(entry)} is not a vertebra's point; entries need a whole-numbered "
            "label and numbers X, Y, Z (all three NaN for an absent vertebra)."
        )
    return int(label), voxel


def _shortened(entry: Any) -> str:
    text = reprlib.repr(entry)
    return text if len(text) <= 200 else f"{text[:200]}..."
