"""The report: one HTML page of all scans, with pictures and volumes beside it or in it."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from vertseg import __version__
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.predict.certainty import level_words, percent
from vertseg.predict.correction import FORMAT as CORRECTION_FORMAT
from vertseg.predict.origins import unlike_origins
from vertseg.predict.result import GRADE_WORDS, Result, read_result
from vertseg.predict.verdict import level_code
from vertseg.predict.viewer_volumes import read_viewer_volumes
from vertseg.report.overview import (
    STATUSES,
    Verdict,
    most_urgent_first,
    shown_columns,
    verdict,
)

MISSING = "–"
THUMBNAIL_PIXEL = (480, 240)


@dataclass(frozen=True)
class Column:
    """A column of the table of measures.

    Attributes:
        key: of the measure in a vertebra's result.
        heading: of the column.
        digits: decimal places shown.
        factor: by which the measure is multiplied.
    """

    key: str
    heading: str
    digits: int = 0
    factor: float = 1


COLUMNS = (
    Column("probability", "Level right (%)", 0, 100),
    Column("trabecular_hu", "Trabecular HU"),
    Column("bmd_mg_cc", "Density (mg/cc)"),
    Column("volume_ml", "Volume (ml)", 1),
    Column("body_volume_ml", "Body (ml)", 1),
    Column("height_anterior_mm", "Anterior height (mm)", 1),
    Column("height_middle_mm", "Middle height (mm)", 1),
    Column("height_posterior_mm", "Posterior height (mm)", 1),
    Column("height_loss", "Height loss (%)", 0, 100),
)


@dataclass(frozen=True)
class Section:
    """A scan as the page shows it.

    Attributes:
        number: of the scan, from 1.
        scan: its result.
        folder: of the page, to which links are relative; None for a page that holds everything.
    """

    number: int
    scan: Result
    folder: Path | None

    @cached_property
    def verdict(self) -> Verdict:
        """Status and reasons."""
        return verdict(self.scan)

    @property
    def title(self) -> str:
        """Words that tell the scan from others."""
        return self.scan.title or self.scan.scan

    @property
    def columns(self) -> list[Column]:
        """Columns of its measures that at least one vertebra has a value for."""
        return [
            one
            for one in COLUMNS
            if any(vertebra.get(one.key) is not None for vertebra in self.scan.vertebrae)
        ]

    def has(self, key: str) -> bool:
        """Whether at least one vertebra has a value."""
        return any(vertebra.get(key) is not None for vertebra in self.scan.vertebrae)

    @property
    def graded(self) -> int:
        """How many of its vertebrae have a Genant grade."""
        return sum(one.get("genant_grade") is not None for one in self.scan.vertebrae)

    @property
    def preview(self) -> Markup | str:
        """Address of the preview: relative, or with the picture itself."""
        assert self.scan.preview
        if self.folder is None:
            return Markup("data:image/png;base64," + _base64(self.scan.preview))
        return _relative(self.scan.preview, self.folder)

    @property
    def volumes(self) -> str:
        """Address of the viewer's script; "" if the page holds its volumes."""
        assert self.scan.viewer
        return "" if self.folder is None else _relative(self.scan.viewer, self.folder)

    @property
    def held_volumes(self) -> Markup | None:
        """The viewer's volumes as JSON, in a page that holds everything."""
        if self.folder is not None or self.scan.viewer is None:
            return None
        return Markup(read_viewer_volumes(self.scan.viewer))

    @property
    def correctable(self) -> dict[str, Any] | None:
        """What a correction of this result starts from; None if it cannot be corrected."""
        if self.scan.mask_sha256 is None or not self.scan.vertebrae:
            return None
        return {
            "format": CORRECTION_FORMAT,
            "scan": self.scan.scan,
            "mask_sha256": self.scan.mask_sha256,
            "labels": [one["label"] for one in self.scan.vertebrae],
        }


def write_report(
    results: Sequence[str | os.PathLike[str] | Result],
    target: str | os.PathLike[str],
    single_file: bool = False,
) -> None:
    """Write the report of some scans, in the order given.

    Args:
        results: results of the scans, or their `*_result.json` and `*_failed.json` files.
        target: the HTML file; it appears whole or not at all.
        single_file: put previews and volumes into the page, which otherwise loads them from the
            results' folder when they come into sight or are opened.

    Raises:
        UserError: there is no result, one cannot be read (see `read_result`) or shown, or the
            page cannot be written.
    """
    if not results:
        raise UserError(f"{target}: no result to report. Give at least one *_result.json file.")
    scans = [one if isinstance(one, Result) else read_result(one) for one in results]
    folder = None if single_file else Path(target).parent
    sections = [Section(number, scan, folder) for number, scan in enumerate(scans, start=1)]
    environment = Environment(
        loader=PackageLoader("vertseg.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, percent=percent, thumbnail=_thumbnail, unbroken=_unbroken
    )
    stream = environment.get_template("page.html.jinja").stream(
        sections=sections,
        urgent=[sections[index] for index in most_urgent_first(scans)],
        shown=shown_columns(scans),
        origins=unlike_origins(scans),
        statuses=STATUSES,
        single_file=single_file,
        version=__version__,
        notice=RESEARCH_USE_ONLY,
        colours={label: label_colour(label) for label in CRANIOCAUDAL},
        names=NAMES,
        order=CRANIOCAUDAL,
        grades=GRADE_WORDS,
        asset=_asset,
        reach=_reach,
        level_words=level_words,
        left_out=_left_out,
        unmeasured=_unmeasured,
        sureness=_sureness,
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


def _sureness(probability: float | None) -> str:
    """Class of a probability of right levels by the limits of the warnings."""
    if probability is None:
        return "missing"
    return {"": "sure", "uncertain_levels": "unsure"}.get(level_code(probability), "improbable")


def _unbroken(text: str) -> str:
    """The text without line breaks before percent signs."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


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


def _base64(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise _unreadable(path, error) from error


def _relative(path: Path, folder: Path) -> str:
    """Address of a file in a page that lies in a folder."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # on another drive
        return path.absolute().as_uri()


def _asset(name: str) -> Markup:
    """Text of a file of this package, which goes into the page unescaped."""
    return Markup(files("vertseg.report").joinpath("assets", name).read_text("utf-8"))
