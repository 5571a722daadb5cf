"""Preview of a labelled scan: its panels side by side, with names, measures and captions."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.files import atomic_path
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.figures.preview_panels import Measure, Panel, middle_panels, preview_panels
from vertseg.figures.slices import View, spread_apart
from vertseg.scans.volumes import Volume

if TYPE_CHECKING:
    from vertseg.screening.shape import SpineShape

TINT = 0.12
"""Opacity of a label within its outline."""

WIDEST, TALLEST = 1440, 860
"""Largest size in pixels of all panels together."""

FINEST_MM = 0.4
BRACKET = 8
"""Distance in pixels of a bracket from the panel's edge, and length of its ends."""

OUTLINE, GAP, EDGE, TITLE, LINE, CAPTION, NOTICE = 2, 12, 16, 40, 20, 22, 30
NARROWEST = 560
NAME_SIZE, LETTER_SIZE, CAPTION_SIZE, TITLE_SIZE, NOTICE_SIZE = 17, 16, 15, 22, 13
BESIDE = 5
"""Distance in pixels between a vertebra and its name."""

_INK, _QUIET, _PAPER = "#222222", "#666666", "#ffffff"


@dataclass(frozen=True)
class Word:
    """A text in the preview.

    Attributes:
        text: the text.
        box: left, top, right and bottom in pixels.
        colour: of the letters.
        size: of the font in pixels.
        halo: a black rim, for texts on a picture.
    """

    text: str
    box: tuple[float, float, float, float]
    colour: str
    size: int
    halo: bool = False


def draw_preview(
    ct: Volume,
    mask: np.ndarray,
    path: str | os.PathLike[str],
    title: str,
    note: str = "",
    shape: "SpineShape | None" = None,
) -> None:
    """Draw the slices along the spine, or the scan's middle ones if no vertebra was found.

    Args:
        ct: the scan; array (x, y, z) in HU.
        mask: label map of the scan (x, y, z), VerSe's values.
        path: the PNG file; it appears whole or not at all.
        title: name of the scan.
        note: a word about the labels, such as how sure their levels are, for lines of their own.
        shape: curves and slips to state, if any.
    """
    picture, _ = preview_picture(ct, mask, title, note, shape)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        picture.save(file, "PNG", compress_level=4)


def preview_picture(
    ct: Volume, mask: np.ndarray, title: str, note: str = "", shape: "SpineShape | None" = None
) -> tuple[Image.Image, list[tuple[Panel, tuple[int, int, int, int]]]]:
    """The picture that `draw_preview` saves; arguments as there.

    Returns:
        The picture, and its panels with left, top, right and bottom of each in pixels.
    """
    panels = preview_panels(ct, mask, shape) if mask.any() else middle_panels(ct, mask)
    places, pixel_mm = _places([panel.view for panel in panels])
    width = max(max(right for _, _, right, _ in places) + EDGE, NARROWEST)
    lines = wrapped(note, width - 2 * EDGE)
    below = len(lines) * LINE
    places = [(left, top + below, right, bottom + below) for left, top, right, bottom in places]
    height = max(bottom for *_, bottom in places) + NOTICE
    picture = Image.new("RGB", (width, height), _PAPER)
    for panel, place in zip(panels, places, strict=True):
        picture.paste(_drawn(panel, (place[2] - place[0], place[3] - place[1])), place[:2])
    draw = ImageDraw.Draw(picture)
    for panel, place in zip(panels, places, strict=True):
        for measure in panel.measures:
            if not measure.is_slip:
                _draw_bracket(draw, panel.view, measure, place)
    for word in words(panels, places, pixel_mm, picture.size, title, lines):
        left, top, _, _ = word.box
        draw.text(
            (left, top), word.text, word.colour, _font(word.size), "la",
            stroke_width=2 if word.halo else 0, stroke_fill="black" if word.halo else None,
        )  # fmt: skip
    return picture, list(zip(panels, places, strict=True))


def words(
    panels: Sequence[Panel],
    places: Sequence[tuple[int, int, int, int]],
    pixel_mm: float,
    size: tuple[int, int],
    title: str,
    lines: Sequence[str] = (),
) -> list[Word]:
    """All texts of the preview.

    Args:
        panels: its panels.
        places: left, top, right and bottom of each panel in pixels.
        pixel_mm: size of a pixel.
        size: width and height of the preview in pixels.
        title: name of the scan.
        lines: further lines below the title.
    """
    nothing = "" if any(panel.marks for panel in panels) else ": no vertebra found"
    room = size[0] - 2 * EDGE - _width(nothing, TITLE_SIZE)
    found = [
        _word(_fitted(title, room, TITLE_SIZE) + nothing, EDGE, 8, _INK, TITLE_SIZE),
        _word(RESEARCH_USE_ONLY, EDGE, size[1] - NOTICE + 8, _QUIET, NOTICE_SIZE),
        *(
            _word(line, EDGE, TITLE + number * LINE, _INK, CAPTION_SIZE)
            for number, line in enumerate(lines)
        ),
    ]
    for panel, place in zip(panels, places, strict=True):
        left, top, right, _ = place
        caption = _fitted(panel.caption, right - left, CAPTION_SIZE)
        found.append(_word(caption, left, top - CAPTION + 2, _QUIET, CAPTION_SIZE))
        one, other = panel.view.sides
        end = right - 6 - _width(other, LETTER_SIZE)
        letters = [
            _word(letter, x, top + 4, "white", LETTER_SIZE, halo=True)
            for letter, x in ((one, left + 6), (other, end))
        ]
        found += [
            *letters,
            *_names(panel, place, pixel_mm, letters),
            *_measure_words(panel, place),
        ]
    return found


def _names(
    panel: Panel,
    place: tuple[int, int, int, int],
    pixel_mm: float,
    letters: Sequence[Word],
) -> list[Word]:
    """The vertebrae's names beside their bodies; below the letters of the sides if in their way."""
    if not panel.marks:
        return []
    found = _names_below(panel, place, pixel_mm, place[1])
    if any(_touch(name.box, letter.box) for name in found for letter in letters):
        found = _names_below(panel, place, pixel_mm, place[1] + LETTER_SIZE + 6)
    return found


def _names_below(
    panel: Panel, place: tuple[int, int, int, int], pixel_mm: float, ceiling: float
) -> list[Word]:
    """Names beside bodies below a height of the picture, moved apart where they would overlap."""
    left, _, right, bottom = place
    ordered = sorted(panel.marks, key=panel.marks.__getitem__)
    heights = spread_apart([panel.marks[label] / pixel_mm for label in ordered], NAME_SIZE + 1)
    tallest = bottom - ceiling - NAME_SIZE / 2 - 2
    heights = np.clip(heights, NAME_SIZE / 2 + 2, None)
    heights -= np.maximum(heights - (tallest - (NAME_SIZE + 1) * np.arange(len(ordered))[::-1]), 0)
    starts, stops = np.array([_reach_at(panel.view, height, place) for height in heights]).T
    names = [NAMES[label] for label in ordered]
    widths = np.array([_width(name, NAME_SIZE) for name in names])
    at = {"left": starts - BESIDE - widths, "right": stops + BESIDE}
    last = right - left - widths - 3
    fits = {"left": (at["left"] >= 3).all(), "right": (at["right"] <= last).all()}
    side, other = panel.names_at, "right" if panel.names_at == "left" else "left"
    # Names would lie on their vertebrae for lack of room; angles have the other side.
    if fits[other] and not fits[side] and not panel.measures:
        side = other
    return [
        _word(name, left + x, bottom - height - NAME_SIZE / 2, _paler(label_colour(label)),
              NAME_SIZE, halo=True)
        for name, label, height, x in zip(
            names, ordered, heights, np.minimum(np.maximum(at[side], 3), last), strict=True
        )
    ]  # fmt: skip


def _reach_at(view: View, height: float, place: tuple[int, int, int, int]) -> tuple[int, int]:
    """Pixels from a panel's left edge to the labels' first and last one beside a name."""
    left, top, right, bottom = place
    rows, columns = view.predicted.shape
    row = int(np.clip(height * rows / (bottom - top), 0, rows - 1))
    half = max(round(NAME_SIZE / 2 * rows / (bottom - top)), 1)
    beside = view.predicted[max(row - half, 0) : row + half + 1]
    inside = np.flatnonzero((beside != BACKGROUND).any(axis=0))
    ends = (inside[0], inside[-1] + 1) if len(inside) else (columns // 2, columns // 2)
    start, stop = (round(end * (right - left) / columns) for end in ends)
    return start, stop


def _touch(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Whether two boxes (left, top, right, bottom) are less than 4 pixels apart."""
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > -4
        and min(one[3], other[3]) - max(one[1], other[1]) > -4
    )


def _measure_words(panel: Panel, place: tuple[int, int, int, int]) -> list[Word]:
    """Angles beside their brackets; slips at the right edge, at their discs."""
    left, _, right, bottom = place
    found = []
    for is_slip in (False, True):
        ends = {
            one.text: _reach(panel.view, one, place)
            for one in panel.measures
            if one.is_slip == is_slip
        }
        middles = {text: bottom - (top + low) / 2 for text, (top, low) in ends.items()}
        ordered = sorted(middles, key=middles.__getitem__)
        apart = spread_apart([middles[text] for text in ordered], CAPTION_SIZE + 3)
        for text, height in zip(ordered, apart, strict=True):
            x = left + 2 * BRACKET + BESIDE
            if is_slip:
                x = right - BESIDE - round(_width(text, CAPTION_SIZE))
            y = bottom - height - CAPTION_SIZE / 2
            found.append(_word(text, x, y, "white", CAPTION_SIZE, halo=True))
    return found


def _draw_bracket(
    draw: ImageDraw.ImageDraw, view: View, measure: Measure, place: tuple[int, int, int, int]
) -> None:
    """A bracket at the panel's left edge, from the upper vertebra's top to the lower's bottom."""
    top, low = _reach(view, measure, place)
    x = place[0] + BRACKET
    corners = [(x + BRACKET, top), (x, top), (x, low), (x + BRACKET, low)]
    draw.line(corners, "black", 4)
    draw.line(corners, "white", 2)


def _reach(view: View, measure: Measure, place: tuple[int, int, int, int]) -> tuple[float, float]:
    """Height in pixels of the top of a measure's upper vertebra, and of the lower one's bottom."""
    _, top, _, bottom = place
    scale = (bottom - top) / view.predicted.shape[0]
    rows = [
        np.flatnonzero((view.predicted == label).any(axis=1))
        for label in (measure.upper, measure.lower)
    ]
    if measure.is_slip:
        disc = bottom - scale * (rows[0][0] + rows[1][-1] + 1) / 2
        return disc, disc
    return bottom - scale * (rows[0][-1] + 1), bottom - scale * rows[1][0]


def _places(views: Sequence[View]) -> tuple[list[tuple[int, int, int, int]], float]:
    """Places of views at one scale, in one row or two, whichever shows them larger.

    Returns:
        Left, top, right and bottom of each in pixels, and the size of a pixel in mm.
    """
    half = (len(views) + 1) // 2
    choices = [[list(range(len(views)))], [list(range(half)), list(range(half, len(views)))]]
    scales = []
    for rows in choices:
        widths = [sum(views[i].extent[1] for i in row) for row in rows]
        tall = sum(views[row[0]].extent[3] for row in rows)
        gaps = max(len(row) for row in rows) - 1
        scales.append(min((WIDEST - gaps * GAP) / max(widths), TALLEST / tall, 1 / FINEST_MM))
    rows, scale = choices[int(np.argmax(scales))], max(scales)
    places = []
    top = TITLE + CAPTION
    for row in rows:
        left = EDGE
        for index in row:
            _, width, _, height = views[index].extent
            right = left + max(round(width * scale), 2)
            bottom = top + max(round(height * scale), 2)
            places.append((left, top, right, bottom))
            left = right + GAP
        top = bottom + GAP + CAPTION
    return places, 1 / scale


def _drawn(panel: Panel, size: tuple[int, int]) -> Image.Image:
    """A panel of width and height in pixels, with its labels tinted and outlined."""
    low, high = panel.window_hu
    grey = np.clip((panel.view.grey[::-1] - np.float32(low)) * (255 / (high - low)), 0, 255)
    plain = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    if not panel.marks:
        return plain.convert("RGB")
    image = np.repeat(np.asarray(plain, np.float32)[..., None], 3, axis=-1)
    stored = np.ascontiguousarray(panel.view.predicted[::-1], np.uint8)
    labels = np.asarray(Image.fromarray(stored).resize(size, Image.Resampling.NEAREST))
    present = labels_present(labels)
    colours = np.zeros((256, 3), np.float32)
    colours[present] = [_rgb(label_colour(label)) for label in present]
    opacity = np.where(_outline(labels), 1, TINT) * (labels != BACKGROUND)
    image += opacity[..., None] * (colours[labels] - image)
    return Image.fromarray(np.rint(image).astype(np.uint8))


def _outline(labels: np.ndarray) -> np.ndarray:
    """Pixels of a map (rows, columns) of labels that lie near another label or background."""
    padded = np.pad(labels, OUTLINE)
    height, width = labels.shape
    edge = np.zeros(labels.shape, bool)
    for shift in (*range(OUTLINE), *range(OUTLINE + 1, 2 * OUTLINE + 1)):
        edge |= padded[shift : shift + height, OUTLINE : OUTLINE + width] != labels
        edge |= padded[OUTLINE : OUTLINE + height, shift : shift + width] != labels
    return edge


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _paler(colour: str) -> str:
    """A colour half-way to white, which dark tissue does not swallow."""
    return "#" + "".join(f"{(part + 255) // 2:02x}" for part in _rgb(colour))


def _word(text: str, x: float, y: float, colour: str, size: int, halo: bool = False) -> Word:
    x, y = round(x), round(y)
    return Word(text, (x, y, x + _width(text, size), y + size), colour, size, halo)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def wrapped(text: str, width: float) -> list[str]:
    """The text in lines of at most a number of pixels, broken between words."""
    lines: list[str] = []
    for part in text.split():
        longer = f"{lines[-1]} {part}" if lines else part
        if lines and _width(longer, CAPTION_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _fitted(text: str, width: float, size: int) -> str:
    """The text, without its middle if it is wider than a number of pixels."""
    if _width(text, size) <= width:
        return text
    half = len(text) // 2
    while half and _width(f"{text[:half]}...{text[-half:]}", size) > width:
        half -= 1
    return f"{text[:half]}...{text[-half:]}" if half else ""
