"""The preview picture: what it shows, on which side, and that nothing covers anything else."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.figures.preview import draw_preview, middle_views, preview_figure, preview_views
from vertseg.scans.volumes import Geometry, Volume


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


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [
        (one, other)
        for (one, box), (other, its) in combinations(boxes, 2)
        if (shared := Bbox.intersection(box, its)) and min(shared.width, shared.height) > 0.5
    ]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize(
    "labels", [[20, 21, 22], list(range(1, 25)), list(CRANIOCAUDAL), [20]], ids=len
)
def test_every_vertebra_is_named_in_both_views_and_no_text_covers_another(
    labels: list[int],
) -> None:
    figure = preview_figure(*spine(labels), "sub-x")
    shown = texts(figure)
    assert all(shown.count(NAMES[label]) == 2 for label in labels)
    assert {"R", "L", "A", "P", "sub-x", RESEARCH_USE_ONLY} <= set(shown)
    assert overlaps(figure) == []


def test_slices_follow_a_bend_that_no_plane_follows() -> None:
    ct, mask = spine([20, 21, 22, 23, 24], bend_mm=80)
    assert len(np.unique(mask[37])) < 6, "one sagittal plane does not meet all of them"
    for view in preview_views(ct, mask):
        assert set(np.unique(view.predicted)) == {0, 20, 21, 22, 23, 24}


def test_right_is_on_the_left_and_anterior_too() -> None:
    ct, mask = spine([20, 21, 22], bend_mm=60)
    sagittal, coronal = preview_views(ct, mask)
    assert (sagittal.sides, coronal.sides) == (("A", "P"), ("R", "L"))
    assert sagittal.grey[:, 0].mean() > 600, "what lies in front is on the left"
    assert sagittal.grey[:, -1].mean() < 100
    assert coronal.grey[:, 0].mean() > 700, "what lies to the patient's right is on the left"
    assert coronal.grey[:, -1].mean() < 100
    upper, lower = (np.argwhere(coronal.predicted == label).mean(axis=0) for label in (20, 22))
    assert upper[0] > lower[0] and upper[1] > lower[1]


def test_views_have_the_scans_whole_height_and_true_proportions() -> None:
    ct, mask = spine([20, 21, 22])
    for view in preview_views(ct, mask):
        left, right, bottom, top = view.extent
        assert top - bottom == 4 * mask.shape[2]
        rows, columns = view.grey.shape
        assert (top - bottom) / rows == pytest.approx((right - left) / columns, rel=0.02)
    figure = preview_figure(ct, mask, "sub-x")
    for axes in figure.axes:
        left, right, bottom, top = axes.images[0].get_extent()
        box = axes.get_window_extent()
        assert box.width / (right - left) == pytest.approx(box.height / (top - bottom), rel=1e-6)


def test_a_vertebra_of_one_voxel_is_found() -> None:
    mask = np.zeros((61, 61, 61), np.uint8)
    mask[33, 35, 31] = 20
    ct = volume(mask.astype(np.int16), 0.5, 0.5, 0.5)
    figure = preview_figure(ct, mask, "speck")
    assert figure.axes and "no vertebra" not in " ".join(texts(figure))


def test_without_a_vertebra_the_middle_is_shown_and_said_so(tmp_path: Path) -> None:
    array = np.arange(40)[:, None, None] * np.ones((40, 30, 20)) * 10
    ct, mask = volume(array, 1, 1, 3), np.zeros(array.shape, np.uint8)
    sagittal, coronal = middle_views(ct, mask)
    assert np.all(sagittal.grey == 200)
    assert coronal.grey[0, 0] > coronal.grey[0, -1]
    figure = preview_figure(ct, mask, "sub-limb")
    assert "sub-limb: no vertebra found" in texts(figure)
    draw_preview(ct, mask, tmp_path / "new/p.png", "sub-limb")
    assert imread(tmp_path / "new/p.png").std() > 0.05


def test_a_long_name_keeps_its_ends_and_no_name_is_read_as_mathematics() -> None:
    ct, mask = spine([20, 21])
    figure = preview_figure(ct, mask, "first_" + "x" * 200 + "_last $\\frac")
    (title,) = (text for text in texts(figure) if text.startswith("first_"))
    assert len(title) < 110 and title.endswith("_last $\\frac")
    assert overlaps(figure) == []


def test_the_same_scan_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_preview(*spine([20, 21]), tmp_path / name, "sub-x")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
