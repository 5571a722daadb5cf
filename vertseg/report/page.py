"""The report: one HTML page of all scans that holds its pictures, volumes and viewer."""

import base64
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from nibabel.filebasedimages import ImageFileError
from PIL import Image

from vertseg import __version__
from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.predict.certainty import level_words
from vertseg.predict.result import Result, read_result

MISSING = "–"
THUMBNAIL_PIXEL = (240, 160)
GRADES = ("none", "mild", "moderate", "severe")
"""Genant's words for grades 0 to 3."""


def write_report(
    results: Sequence[str | os.PathLike[str] | Result], target: str | os.PathLike[str]
) -> None:
    """Write the report of some scans, in the order given.

    Args:
        results: results of the scans, or their `*_result.json` and `*_failed.json` files.
        target: the HTML file; it appears whole or not at all.

    Raises:
        UserError: there is no result, one cannot be read (see `read_result`) or shown, or the
            page cannot be written.
    """
    if not results:
        raise UserError(f"{target}: no result to report. Give at least one *_result.json file.")
    scans = [one if isinstance(one, Result) else read_result(one) for one in results]
    environment = Environment(
        loader=PackageLoader("vertseg.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, base64=_base64)
    stream = environment.get_template("page.html.jinja").stream(
        scans=scans,
        version=__version__,
        notice=RESEARCH_USE_ONLY,
        colours={label: label_colour(label) for label in CRANIOCAUDAL},
        names=NAMES,
        grades=GRADES,
        asset=_asset,
        thumbnail=_thumbnail,
        reach=_reach,
        level_words=level_words,
        left_out=_left_out,
        unmeasured=_unmeasured,
        positions=_positions,
    )
    try:
        with (
            atomic_path(target) as temporary,
            # Names of files need not be UTF-8.
            temporary.open("w", encoding="utf-8", errors="backslashreplace") as page,
        ):
            page.writelines(stream)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}). Make room or choose another folder, "
            "then give the same command again."
        ) from error


def number(value: float | None, digits: int = 0, factor: float = 1) -> str:
    """A measure as text, or a dash for None."""
    if value is None:
        return MISSING
    text = f"{value * factor:.{digits}f}"
    # A minus sign instead of a hyphen, and no sign before a zero.
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def _reach(scan: Result) -> str:
    """Names of the outermost vertebrae, such as "T10 to L5"."""
    found = [one["name"] for one in scan.vertebrae]
    return " to ".join(dict.fromkeys([found[0], found[-1]])) if found else MISSING


def _left_out(vertebra: Mapping[str, Any]) -> list[str]:
    """Measures that are left out of a vertebra's row, with the reasons."""
    reasons = list(vertebra.get("suppressed", ()))
    if vertebra.get("complete") is False and not reasons:
        return ["measures (cut by the field of view)"]
    return reasons


def _unmeasured(vertebra: Mapping[str, Any]) -> bool:
    return all(vertebra.get(key) is None for key in ("trabecular_hu", "height_middle_mm"))


def _positions(mask: Path) -> Markup:
    """Positions of the vertebrae as JSON: label -> centre (x, y, z) in parts of the volume."""
    try:
        labels = np.asanyarray(nib.Nifti1Image.from_filename(mask).dataobj)
    except (ImageFileError, EOFError, OSError, ValueError, zlib.error) as error:
        raise _unreadable(mask, error) from error
    parts = {
        label: [round(float(part), 4) for part in (centre + 0.5) / labels.shape]
        for label, centre in body_centres(labels, np.eye(4)).items()
    }
    return Markup(json.dumps(parts))


def _thumbnail(preview: Path) -> Markup:
    small = io.BytesIO()
    try:
        picture = Image.open(preview).convert("RGB")
    except OSError as error:
        raise _unreadable(preview, error) from error
    picture.thumbnail(THUMBNAIL_PIXEL, Image.Resampling.LANCZOS)
    picture.save(small, "JPEG", quality=80)
    return Markup(base64.b64encode(small.getvalue()).decode())


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read ({error}). Run vertseg predict on the scan again.")


def _base64(path: Path) -> Markup:
    try:
        return Markup(base64.b64encode(path.read_bytes()).decode())
    except OSError as error:
        raise _unreadable(path, error) from error


def _asset(name: str) -> Markup:
    """Text of a file of this package, which goes into the page unescaped."""
    return Markup(files("vertseg.report").joinpath("assets", name).read_text("utf-8"))
