"""The preview picture: what it shows, on which side, and that no text covers another."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.figures.preview import (
    BRACKET,
    EDGE,
    LETTER_SIZE,
    NAME_SIZE,
    Word,
    draw_preview,
    preview_picture,
    words,
    wrapped,
)
from vertseg.figures.preview_panels import Panel, middle_panels, preview_panels
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening.shape import Segment, SpineShape

Place = tuple[int, int, int, int]


def volume(array: np.ndarray, *spacing_mm: float) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(array, affine, Geometry(array.shape, affine))


def spine(labels: list[int], bend_mm: float = 0.0) -> tuple[Volume, np.ndarray]:
    """Blocks from the top down, in voxels of 2 x 2 x 4 mm, with empty scan above and below.

    The lowest lies `bend_mm` to the patient's right of the highest.
    """
    height = 12 * len(labels) + 40
    mask = np.zeros((120, 100, height), np.uint8)
    for index, label in enumerate(labels):
        shift = round(bend_mm / 2 * index / max(len(labels) - 1, 1))
        x, z = 30 + shift, height - 20 - 12 * (index + 1)
        mask[x : x + 15, 40:55, z : z + 8] = label
    array = np.where(mask > 0, 300, 0).astype(np.int16)
    array[100:, :, :] = 800
    array[:, 70:, :] = 700
    return volume(array, 2.0, 2.0, 4.0), mask


class Preview:
    """A preview's picture (rows, columns, 3), panels with their places, and texts."""

    def __init__(
        self,
        ct: Volume,
        mask: np.ndarray,
        title: str = "sub-x",
        note: str = "",
        shape: SpineShape | None = None,
    ) -> None:
        picture, placed = preview_picture(ct, mask, title, note, shape)
        self.picture = np.asarray(picture)
        self.panels = [panel for panel, _ in placed]
        self.places = [place for _, place in placed]
        _, top, _, bottom = self.places[0]
        pixel_mm = self.panels[0].view.extent[3] / (bottom - top)
        lines = wrapped(note, picture.size[0] - 2 * EDGE)
        self.words: list[Word] = words(
            self.panels, self.places, pixel_mm, picture.size, title, lines
        )

    @property
    def texts(self) -> list[str]:
        return [word.text for word in self.words]

    def overlaps(self) -> list[tuple[str, str]]:
        return [
            (one.text, other.text)
            for one, other in combinations(self.words, 2)
            if min(one.box[2], other.box[2]) - max(one.box[0], other.box[0]) > 0.5
            and min(one.box[3], other.box[3]) - max(one.box[1], other.box[1]) > 0.5
        ]

    def cut(self, index: int) -> np.ndarray:
        """The pixels of a panel."""
        left, top, right, bottom = self.places[index]
        return self.picture[top:bottom, left:right]


def labelled(panels: list[Panel]) -> list[Panel]:
    return [panel for panel in panels if panel.marks]


@pytest.mark.parametrize(
    "labels", [[20, 21, 22], list(range(1, 25)), list(CRANIOCAUDAL), [20]], ids=len
)
def test_every_vertebra_is_named_in_both_labelled_views_and_no_text_covers_another(
    labels: list[int],
) -> None:
    preview = Preview(*spine(labels))
    assert all(preview.texts.count(NAMES[label]) == 2 for label in labels)
    assert {"R", "L", "A", "P", "sub-x", RESEARCH_USE_ONLY} <= set(preview.texts)
    assert preview.overlaps() == []
    rows, columns, _ = preview.picture.shape
    for word in preview.words:
        left, top, right, bottom = word.box
        assert left >= 0 and top >= 0 and right <= columns and bottom <= rows, word


SHAPE = SpineShape(
    cobb_deg=21.6,
    cobb_levels=("T11", "L3"),
    lumbar_lordosis_deg=-4.4,
    thoracic_kyphosis_deg=33.0,
    segments=(
        Segment("L3", "L4", 0.4, 1.0, 0, None, None, None),
        Segment("L4", "L5", -4.2, -12.0, 1, None, None, None),
    ),
)


def test_measures_of_the_shape_stand_at_their_vertebrae() -> None:
    labels = list(range(17, 25))
    preview = Preview(*spine(labels), shape=SHAPE)
    assert preview.overlaps() == []
    # T4 is not in view, and a slip without a grade is none.
    shown = {text for text in preview.texts if any(letter.isdigit() for letter in text[3:])}
    assert shown == {"Cobb 22°", "lordosis −4°", "slip −4 mm"}
    for index, text, upper, lower in ((0, "lordosis −4°", 20, 24), (2, "Cobb 22°", 18, 22)):
        left, top, right, bottom = preview.places[index]
        view = preview.panels[index].view
        scale = (bottom - top) / view.predicted.shape[0]
        high = (np.flatnonzero((view.predicted == upper).any(axis=1))[-1] + 1) * scale
        low = np.flatnonzero((view.predicted == lower).any(axis=1))[0] * scale
        # Below the letter of the side.
        edge = preview.cut(index)[LETTER_SIZE + 8 :, BRACKET]
        white = np.flatnonzero((edge == 255).all(axis=-1)) + LETTER_SIZE + 8
        assert bottom - top - white[0] == pytest.approx(high, abs=2)
        assert bottom - top - white[-1] == pytest.approx(low, abs=2)
        (word,) = (word for word in preview.words if word.text == text)
        assert left < word.box[0] and word.box[2] < right
        assert (word.box[1] + word.box[3]) / 2 == pytest.approx(bottom - (high + low) / 2, abs=2)
    (slip,) = (word for word in preview.words if word.text == "slip −4 mm")
    view, (_, top, right, bottom) = preview.panels[0].view, preview.places[0]
    above = np.flatnonzero((view.predicted == 23).any(axis=1))[0]
    below = np.flatnonzero((view.predicted == 24).any(axis=1))[-1] + 1
    disc = bottom - (above + below) / 2 * (bottom - top) / view.predicted.shape[0]
    assert (slip.box[1] + slip.box[3]) / 2 == pytest.approx(disc, abs=2) and slip.box[2] < right


def test_without_measures_there_are_no_marks() -> None:
    plain = Preview(*spine([19, 20, 21]), shape=SpineShape())
    assert np.array_equal(plain.picture, Preview(*spine([19, 20, 21])).picture)


def test_a_name_stands_beside_its_vertebra() -> None:
    labels = [19, 20, 21, 22]
    preview = Preview(*spine(labels, bend_mm=60))
    panels = [index for index, panel in enumerate(preview.panels) if panel.marks]
    for index in panels:
        left, top, right, bottom = preview.places[index]
        panel = preview.panels[index]
        for label in labels:
            (word,) = (
                word
                for word in preview.words
                if word.text == NAMES[label] and left <= word.box[0] and word.box[2] <= right
                and top <= word.box[1] and word.box[3] <= bottom
            )  # fmt: skip
            rows, columns = np.nonzero(panel.view.predicted == label)
            height, width = panel.view.predicted.shape
            y = bottom - (rows.mean() + 0.5) * (bottom - top) / height
            assert abs((word.box[1] + word.box[3]) / 2 - y) < 3
            ends = left + np.array([columns.min(), columns.max() + 1]) * (right - left) / width
            inner = word.box[2] - ends[0] if panel.names_at == "left" else ends[1] - word.box[0]
            assert -10 < inner < 0, "near it, not on it"


def names_in(preview: Preview, index: int) -> dict[str, Word]:
    """The vertebrae's names in a panel."""
    left, top, right, bottom = preview.places[index]
    return {
        word.text: word
        for word in preview.words
        if word.text in NAMES.values() and left <= word.box[0] and word.box[2] <= right
        and top <= word.box[1] and word.box[3] <= bottom
    }  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_names_stand_off_vertebrae_at_the_edge_of_a_scan(axis: int) -> None:
    labels = [19, 20, 21, 22]
    ct, mask = spine(labels)
    # The patient's left side or front is cut off at the bodies.
    cut = np.s_[29:] if axis == 0 else np.s_[:, :56]
    preview = Preview(volume(ct.array[cut], 2.0, 2.0, 4.0), mask[cut])
    index = 2 if axis == 0 else 1
    view, (left, _, right, _) = preview.panels[index].view, preview.places[index]
    names = names_in(preview, index)
    assert len(names) == len(labels)
    _, columns = np.nonzero(view.predicted)
    ends = left + np.array([columns.min(), columns.max() + 1]) * (right - left) / view.grey.shape[1]
    for word in names.values():
        assert word.box[2] < ends[0] or word.box[0] > ends[1]
    assert preview.overlaps() == []


def test_the_uppermost_name_stands_beside_a_vertebra_at_the_upper_edge() -> None:
    ct, mask = spine([19, 20, 21])
    top = np.flatnonzero(mask.any(axis=(0, 1)))[-1] - 3  # four voxels of the uppermost are left
    preview = Preview(volume(ct.array[..., :top], 2.0, 2.0, 4.0), mask[..., :top])
    _, upper, _, bottom = preview.places[1]
    view = preview.panels[1].view
    rows, _ = np.nonzero(view.predicted == 19)
    middle = bottom - (rows.mean() + 0.5) * (bottom - upper) / view.predicted.shape[0]
    word = names_in(preview, 1)["T12"]
    assert (word.box[1] + word.box[3]) / 2 == pytest.approx(middle, abs=3)
    assert middle - upper < LETTER_SIZE + 8 + NAME_SIZE / 2, "beside the letters of the sides"
    assert preview.overlaps() == []


def test_the_plain_scan_stands_beside_the_labels_and_shows_through_them() -> None:
    ct, mask = spine([20, 21, 22])
    pattern = np.indices(mask.shape).sum(axis=0) % 8 * 60
    ct = volume(np.where(mask > 0, 100 + pattern, 0).astype(np.int16), *ct.spacing_mm)
    preview = Preview(ct, mask)
    plain, overlay = preview.cut(0).astype(int), preview.cut(1).astype(int)
    assert not preview.panels[0].marks and preview.panels[1].marks
    assert plain.shape == overlay.shape
    assert np.ptp(plain, axis=-1)[30:].max() == 0, "grey alone, below the letters"
    height, width = preview.panels[1].view.predicted.shape
    for label in (20, 21, 22):
        rows, columns = np.nonzero(preview.panels[1].view.predicted[::-1] == label)
        scale = np.array(plain.shape[:2]) / (height, width)
        low = np.ceil(np.array([rows.min(), columns.min()]) * scale).astype(int)
        high = np.floor(np.array([rows.max() + 1, columns.max() + 1]) * scale).astype(int)
        colour = 255 * np.array(to_rgb(label_colour(label)))
        edge = overlay[low[0], low[1] + 8 : high[1] - 8]
        np.testing.assert_allclose(edge, np.broadcast_to(colour, edge.shape), atol=2)
        inside = (slice(low[0] + 6, high[0] - 6), slice(low[1] + 6, high[1] - 6))
        was, now = plain[inside][..., 0].ravel(), overlay[inside].mean(axis=-1).ravel()
        assert np.corrcoef(was, now)[0, 1] > 0.99
        assert now.std() > 0.85 * was.std(), "its structure is hardly fainter"


def test_slices_follow_a_bend_that_no_plane_follows() -> None:
    ct, mask = spine([20, 21, 22, 23, 24], bend_mm=80)
    assert len(np.unique(mask[37])) < 6, "one sagittal plane does not meet all of them"
    for panel in labelled(preview_panels(ct, mask)):
        assert set(np.unique(panel.view.predicted)) == {0, 20, 21, 22, 23, 24}


def test_right_is_on_the_left_and_anterior_too() -> None:
    ct, mask = spine([20, 21, 22], bend_mm=60)
    sagittal, coronal = (panel.view for panel in labelled(preview_panels(ct, mask)))
    assert (sagittal.sides, coronal.sides) == (("A", "P"), ("R", "L"))
    assert sagittal.grey[:, 0].mean() > 600, "what lies in front is on the left"
    assert sagittal.grey[:, -1].mean() < 100
    assert coronal.grey[:, 0].mean() > 700, "what lies to the patient's right is on the left"
    assert coronal.grey[:, -1].mean() < 100
    upper, lower = (np.argwhere(coronal.predicted == label).mean(axis=0) for label in (20, 22))
    assert upper[0] > lower[0] and upper[1] > lower[1]


def test_ribs_and_sacrum_that_no_slice_meets_are_among_the_bones() -> None:
    ct, mask = spine([18, 19, 20])
    ribs = ct.array.copy()
    ribs[:] = 0
    ribs[mask > 0] = 300
    ribs[10:20, 25:28, 60:62] = 900  # to the left of a vertebra, 30 mm behind its centre
    ribs[35:50, 20:24, 5:8] = 700  # below all vertebrae
    bones = preview_panels(volume(ribs, *ct.spacing_mm), mask)[-1]
    assert not bones.marks and bones.view.sides == ("R", "L")
    rows, columns = np.nonzero(bones.view.grey == 900)
    assert (rows.min(), rows.max()) == (60, 61) and np.ptp(columns) == 9
    assert columns.min() > bones.view.grey.shape[1] / 2, "the patient's left is on the right"
    assert np.any(bones.view.grey[5:8] == 700)
    for panel in labelled(preview_panels(volume(ribs, *ct.spacing_mm), mask)):
        assert not np.any(panel.view.grey == 900)


def test_panels_have_the_scans_whole_height_and_true_proportions() -> None:
    ct, mask = spine([20, 21, 22])
    preview = Preview(ct, mask)
    scales = []
    for panel, (left, top, right, bottom) in zip(preview.panels, preview.places, strict=True):
        _, width, _, height = panel.view.extent
        assert height == 4 * mask.shape[2]
        scales += [(right - left) / width, (bottom - top) / height]
    assert max(scales) / min(scales) < 1.02


@pytest.mark.parametrize("shape", [(60, 60, 400), (200, 200, 30), (8, 8, 8)])
def test_the_picture_stays_of_a_size_that_a_screen_shows(shape: tuple[int, int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 2 - 2, n // 2 + 2) for n in shape)] = 20
    preview = Preview(volume(mask.astype(np.int16), 2, 2, 2), mask)
    rows, columns, _ = preview.picture.shape
    assert rows <= 1100 and columns <= 1480
    assert preview.overlaps() == []


def test_a_vertebra_of_one_voxel_is_found() -> None:
    mask = np.zeros((61, 61, 61), np.uint8)
    mask[33, 35, 31] = 20
    preview = Preview(volume(mask.astype(np.int16), 0.5, 0.5, 0.5), mask, "speck")
    assert preview.texts.count("L1") == 2 and "no vertebra" not in " ".join(preview.texts)


def test_without_a_vertebra_the_middle_is_shown_and_said_so(tmp_path: Path) -> None:
    array = np.arange(40)[:, None, None] * np.ones((40, 30, 20)) * 10
    ct, mask = volume(array, 1, 1, 3), np.zeros(array.shape, np.uint8)
    sagittal, coronal = (panel.view for panel in middle_panels(ct, mask))
    assert np.all(sagittal.grey == 200)
    assert coronal.grey[0, 0] > coronal.grey[0, -1]
    assert "sub-limb: no vertebra found" in Preview(ct, mask, "sub-limb").texts
    draw_preview(ct, mask, tmp_path / "new/p.png", "sub-limb")
    assert np.asarray(Image.open(tmp_path / "new/p.png")).std() > 10


def test_a_note_has_lines_of_its_own() -> None:
    note = " ".join(f"word{i}" for i in range(60))
    preview = Preview(*spine([20, 21]), note=note)
    lines = [word for word in preview.words if word.text.startswith("word")]
    assert " ".join(word.text for word in lines) == note and len(lines) > 1
    assert preview.overlaps() == []
    assert all(word.box[2] <= preview.picture.shape[1] for word in lines)


def test_a_long_name_keeps_its_ends() -> None:
    preview = Preview(*spine([20, 21]), "first_" + "x" * 300 + "_last $\\frac")
    (title,) = (text for text in preview.texts if text.startswith("first_"))
    assert len(title) < 250 and title.endswith("_last $\\frac")
    assert preview.overlaps() == []


def test_noise_and_metal_do_not_make_all_bones_white() -> None:
    ct, mask = spine([20, 21, 22])
    noisy = np.random.default_rng(0).normal(800, 400, mask.shape).astype(np.int16)
    bones = preview_panels(volume(noisy, *ct.spacing_mm), mask)[-1]
    assert np.mean(bones.view.grey >= bones.window_hu[1]) < 0.03


def test_the_same_scan_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_preview(*spine([20, 21]), tmp_path / name, "sub-x")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
