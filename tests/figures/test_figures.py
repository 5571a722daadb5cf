"""Content of the figures: positions, choices, slices, and that nothing covers anything else."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.axis import Tick, XTick
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.evaluation.screening import QUANTITIES
from vertseg.figures.bland_altman import draw_bland_altman
from vertseg.figures.dataset import count_labels, covered_ranges, draw_dataset
from vertseg.figures.example import place_views, spine_views
from vertseg.figures.figure1 import choose_example, draw_figure1
from vertseg.figures.learning import draw_learning_curves, smooth
from vertseg.figures.localisation import (
    axis_limits,
    axis_position,
    localisation_lines,
    position_along_spine,
    tick_positions,
)
from vertseg.figures.slices import View, spread_apart
from vertseg.figures.style import save_figure
from vertseg.scans.volumes import Geometry, Volume

TITLES = {
    "a": "ResNet18/ASPP",
    "b": "MobileNet/ASPP with flips",
    "c": r"U-Net $\frac{ ^2 ~ a\b {z}",
    "a long one": "MobileNet/ASPP on spine crops, thrice",
}


def straight(*names: str) -> dict[int, np.ndarray]:
    return {IDS[name]: np.array([0.0, 0, -30 * i]) for i, name in enumerate(names)}


def label_rows(reference: dict, predicted: dict, scan: str = "s", method: str = "a") -> list[dict]:
    return [
        {"method": method, "fold": 0, "scan": scan, "label": label}
        | {
            f"{kind}_{axis}_mm": points.get(label, [np.nan] * 3)[index]
            for kind, points in (("reference", reference), ("predicted", predicted))
            for index, axis in enumerate("xyz")
        }
        for label in sorted({*reference, *predicted})
    ]


def bent_spine() -> tuple[Volume, np.ndarray]:
    """Five lumbar cubes on a line that leans to the patient's right and forwards."""
    mask = np.zeros((60, 70, 120), np.uint8)
    for index in range(5):
        x, y, z = 15 + 6 * index, 20 + 6 * index, 10 + 22 * index
        mask[x : x + 10, y : y + 10, z : z + 14] = 24 - index
    affine = np.diag([1.5, 1.0, 2.0, 1.0])
    return Volume(mask * 30.0, affine, Geometry(mask.shape, affine)), mask


def overlapping_texts(figure: plt.Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    undrawn = set()
    for tick in figure.findobj(Tick):
        limits = tick.axes.get_xlim() if isinstance(tick, XTick) else tick.axes.get_ylim()
        if not (tick.axes.axison and min(limits) <= tick.get_loc() <= max(limits)):
            undrawn |= {tick.label1, tick.label2}
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in undrawn
    ]
    return [
        (one, other)
        for (one, box), (other, its) in combinations(boxes, 2)
        if (shared := Bbox.intersection(box, its)) and min(shared.width, shared.height) > 0.5
    ]


class TestPositions:
    def test_c1_l1_and_t13(self) -> None:
        assert [axis_position(IDS[name]) for name in ("C1", "T1", "T12", "T13", "L1", "L5")] == [
            0, 7, 18, 18.5, 19, 23,
        ]  # fmt: skip

    def test_a_point_between_two_vertebrae(self) -> None:
        reference = straight("L1", "L2", "L3")
        assert position_along_spine(np.array([8, -3, -37.5]), reference) == pytest.approx(20.25)

    def test_the_spine_goes_on_beyond_its_ends(self) -> None:
        reference = straight("L1", "L2")
        assert position_along_spine(np.array([0, 0, 30]), reference) == pytest.approx(18)
        assert position_along_spine(np.array([0, 0, -90]), reference) == pytest.approx(22)
        assert position_along_spine(np.array([9, 9, 9]), straight("L4")) == 22

    def test_a_shifted_scan_runs_beside_the_diagonal(self) -> None:
        reference = straight("T12", "L1", "L2")
        shifted = dict(zip((IDS["L1"], IDS["L2"], IDS["L3"]), reference.values(), strict=True))
        lines = localisation_lines(pd.DataFrame(label_rows(reference, shifted)))
        np.testing.assert_allclose(lines["s"], [[18, 19], [19, 20], [20, 21]])
        assert axis_limits([lines]) == (17.2, 21.8)

    def test_a_scan_without_prediction_has_no_line(self) -> None:
        assert localisation_lines(pd.DataFrame(label_rows(straight("L1"), {}))) == {}
        low, high = axis_limits([{}])
        assert low < 0 < 23 < high

    def test_ticks_name_all_of_a_short_range_and_landmarks_of_a_long_one(self) -> None:
        assert tick_positions((16.5, 21.4)) == [17, 18, 19, 20, 21]
        assert tick_positions((-0.8, 23.8)) == [0, 3, 7, 10, 14, 18, 22]


class TestDataset:
    AUDIT = pd.DataFrame(
        {"labels": ["T12 L1 L2", "L1 L2", "C1 C2", "T12 T13 L1", np.nan],
         "cut_by_border": ["T12", "L1 L2", np.nan, "", np.nan]}
    )  # fmt: skip

    def test_counts_are_of_scans(self) -> None:
        counts = count_labels(self.AUDIT)
        assert len(counts) == 26
        assert counts.loc[["C1", "T12", "T13", "L1", "L2", "L3"]].values.tolist() == [
            [1, 0], [1, 1], [1, 0], [2, 1], [1, 1], [0, 0],
        ]  # fmt: skip

    def test_ranges_run_from_the_highest_scan_to_the_lowest(self) -> None:
        assert covered_ranges(self.AUDIT).tolist() == [[0, 1], [18, 20], [18, 21], [20, 21]]
        assert covered_ranges(self.AUDIT.tail(1)).shape == (0, 2)

    @pytest.mark.parametrize("scans", [5, 1])
    def test_no_text_covers_another(self, scans: int) -> None:
        assert overlapping_texts(draw_dataset(self.AUDIT.tail(scans))) == []


class TestChoice:
    SCANS = pd.DataFrame(
        [("a", 0, "x", 0.9), ("a", 0, "y", 0.1), ("a", 0, "z", 0.6), ("a", 0, "w", 0.7),
         ("b", 0, "x", 0.5), ("a", 1, "v", 0.99)],
        columns=["method", "fold", "scan", "multi_label_dice"],
    ).assign(multi_label_dice_native_reference_labels=0.5)  # fmt: skip

    def test_is_the_best_methods_median_scan_of_the_first_fold(self) -> None:
        chosen = choose_example(self.SCANS)
        assert (chosen.method, chosen.fold, chosen.scan) == ("a", 0, "z")
        assert chosen.multi_label_dice == 0.6

    def test_shows_a_vertebra(self) -> None:
        """Without a spine in its reference, a scan has no slices along one."""
        column, scans = "multi_label_dice_native_reference_labels", self.SCANS.copy()
        scans.loc[scans["scan"] == "z", column] = np.nan
        assert choose_example(scans).scan == "w"
        scans[column] = np.nan
        with pytest.raises(UserError, match="No scan of fold 0 has a labelled vertebra"):
            choose_example(scans)

    def test_nothing_to_choose_from(self) -> None:
        with pytest.raises(UserError, match="No scan"):
            choose_example(self.SCANS.head(0))


class TestExample:
    def test_slices_follow_a_bent_spine_and_keep_their_sides(self) -> None:
        ct, mask = bent_spine()
        sagittal, coronal = spine_views(ct, mask, mask)
        for view in (sagittal, coronal):
            assert set(np.unique(view.reference)) == {0, 20, 21, 22, 23, 24}
            np.testing.assert_array_equal(view.grey, view.reference * 30.0)
            _, width, _, height = view.extent
            assert height / view.grey.shape[0] == 2
            assert width / view.grey.shape[1] == {"A": 1.0, "R": 1.5}[view.sides[0]]
        lowest, highest = (np.argwhere(sagittal.reference == i).mean(axis=0) for i in (24, 20))
        assert highest[0] > lowest[0]
        assert highest[1] < lowest[1], "the upper vertebrae lie in front, which is on the left"
        lowest, highest = (np.argwhere(coronal.reference == i).mean(axis=0) for i in (24, 20))
        assert highest[1] < lowest[1], "the upper ones lie to the patient's right, on the left"

    @given(st.lists(st.floats(0, 500), max_size=15).map(sorted), st.floats(0.5, 40))
    def test_spread_heights_keep_the_gap_and_their_mean(
        self, heights: list[float], gap: float
    ) -> None:
        moved = spread_apart(heights, gap)
        assert all(above - below >= gap - 1e-6 for below, above in pairwise(moved))
        if heights:
            assert np.mean(moved) == pytest.approx(np.mean(heights), abs=1e-6)

    def test_heights_that_are_far_enough_apart_stay(self) -> None:
        assert spread_apart([0, 10, 25], 10).tolist() == [0, 10, 25]

    @given(st.floats(40, 400), st.floats(40, 400), st.floats(60, 900))
    def test_views_lie_in_their_room_at_one_scale(
        self, one: float, other: float, tall: float
    ) -> None:
        empty = np.zeros((1, 1))
        views = tuple(
            View(empty, empty, empty, (0, width, 0, tall), ("", "")) for width in (one, other)
        )
        first, second = place_views(views, (3.0, 0.5, 3.0, 6.0))
        for left, bottom, width, height in (first, second):
            assert left >= 3 and left + width <= 6 + 1e-9
            assert bottom >= 0.5 - 1e-9 and bottom + height <= 6.5 + 1e-9
        assert first[2] / one == pytest.approx(second[2] / other)
        assert first[3] == pytest.approx(second[3])
        apart = first[0] + first[2] < second[0] or second[1] + second[3] < first[1]
        assert apart


class TestDrawing:
    @pytest.mark.parametrize(
        "methods", [["a"], ["a", "b"], ["a", "b", "c"], ["a long one", "b", "c"]]
    )
    def test_figure1_has_a_line_a_scan_and_no_text_on_text(self, methods: list[str]) -> None:
        reference = straight("T11", "T12", "L1", "L2", "L3")
        labels = [
            row
            for method in methods
            for scan in ("s", "t")
            for row in label_rows(reference, reference, scan, method)
        ]
        scans = pd.DataFrame(
            [(m, 0, s, d) for m in methods for s, d in (("s", 0.4), ("t", 0.8))],
            columns=["method", "fold", "scan", "multi_label_dice"],
        ).assign(multi_label_dice_native_reference_labels=0.5)
        ct, mask = bent_spine()
        titles = {key: TITLES[key] for key in methods}
        figure = draw_figure1(
            pd.DataFrame(labels), scans, titles, choose_example(scans), spine_views(ct, mask, mask)
        )
        lines = [len(axes.collections[0].get_segments()) for axes in figure.axes[: len(methods)]]
        assert lines == [2] * len(methods)
        names = [text.get_text() for text in figure.findobj(Text)]
        assert all(names.count(name) >= 2 for name in ("L1", "L2", "L3", "L4", "L5"))
        assert overlapping_texts(figure) == []
        captions = [text for text in figure.findobj(Text) if "/ASPP" in text.get_text()]
        corners = [corner for text in captions for corner in text.get_window_extent().corners()]
        assert all(figure.bbox.contains(*corner) for corner in corners)

    def test_learning_curves_have_a_column_a_method_and_no_text_on_text(self) -> None:
        steps = np.arange(1, 101)
        measured = np.where(steps % 50 == 0, 0.5, np.nan)
        log = pd.DataFrame(
            {"iteration": steps, "loss": 1 / steps, "validation_loss": measured,
             "validation_multi_label_dice": measured}
        )  # fmt: skip
        figure = draw_learning_curves({"a": {0: log, 2: log}, "b": {0: log}}, TITLES)
        assert len(figure.axes) == 4
        dots = figure.axes[2].lines[0]
        np.testing.assert_array_equal(dots.get_xdata(), [50, 100])
        np.testing.assert_array_equal(dots.get_ydata(), [0.5, 0.5])
        assert overlapping_texts(figure) == []

    def test_smoothing_keeps_length_and_constants_and_starts_unbiased(self) -> None:
        np.testing.assert_allclose(smooth([3.0] * 50), 3)
        noisy = smooth([5.0, *np.random.default_rng(0).normal(2, 1, 400)])
        assert noisy[0] == 5
        assert noisy[-1] == pytest.approx(2, abs=0.5)

    def test_files_are_the_same_in_every_run(self, tmp_path: Path) -> None:
        figure, axes = plt.subplots()
        axes.plot([0, 1], [1, 0], clip_on=True)
        for suffix in ("pdf", "png", "svg"):
            paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
            for path in paths:
                save_figure(figure, [path])
            assert paths[0].read_bytes() == paths[1].read_bytes()


class TestBlandAltman:
    @staticmethod
    def table(count: int) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        columns = {}
        for field in QUANTITIES:
            true = rng.uniform(15, 30, count)
            columns |= {f"true_{field}": true, field: true + 2}
        region = rng.choice(["cervical", "thoracic", "lumbar"], count)
        return pd.DataFrame({"scan": "a", "region": region} | columns)

    @pytest.mark.parametrize("count", [0, 1, 60])
    def test_no_text_covers_another(self, count: int) -> None:
        assert overlapping_texts(draw_bland_altman(self.table(count), "Phantoms")) == []

    def test_lines_are_bias_and_limits(self) -> None:
        figure = draw_bland_altman(self.table(60), "Phantoms")
        for axes in figure.axes:
            levels = {
                round(line.get_ydata()[0], 6) for line in axes.lines if len(line.get_xdata()) == 2
            }
            assert {0.0, 2.0} <= levels
            assert "bias +2.00" in axes.get_title(loc="left")
