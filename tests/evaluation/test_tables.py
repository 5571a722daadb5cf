"""Table 1 and the table of labels, from small tables worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from html_cells import Cells
from safetensors.numpy import save_file
from scipy import stats

from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.evaluation.files import read_evaluation, read_training_metadata, write_csv
from vertseg.evaluation.formats import note, to_html, to_latex, to_markdown
from vertseg.evaluation.scans import SCAN_COLUMNS
from vertseg.evaluation.tables import per_label_table, table1

METHODS = {
    "ours": {"label": "Ours", "paper": {"multi_label_dice": 0.538, "iterations": 1500}},
    "other": {"label": "Other & co", "paper": None},
}
TRAINING = pd.DataFrame(
    [("ours", 1_278_749, 100, np.nan), ("ours", 1_278_749, 200, np.nan)],
    columns=["method", "parameters", "iterations", "epochs"],
)
DICE = {"ours": [0.5, 0.6, 0.7, 0.9], "other": [0.1, 0.4, 0.3, 0.2]}


def scan_table() -> pd.DataFrame:
    rows = [
        dict.fromkeys(SCAN_COLUMNS, 0.5)
        | {
            "method": method,
            "fold": index // 2,
            "scan": f"s{index}",
            "subject": f"p{min(index, 2)}",
            "multi_label_dice": value,
            "shift": [0, 1, -1, np.nan][index],
            "localisation_error_mm": [2.0, np.nan, 4.0, np.nan][index],
        }
        for method, values in DICE.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=SCAN_COLUMNS)


@pytest.fixture
def table() -> pd.DataFrame:
    return table1(scan_table(), TRAINING, METHODS, "ours", seed=0)


class TestTable1:
    def test_means_are_over_scans_where_defined(self, table: pd.DataFrame) -> None:
        ours, other = table.to_dict("records")
        assert ours["multi_label_dice"] == pytest.approx(0.675)
        assert other["multi_label_dice"] == pytest.approx(0.25)
        assert ours["localisation_error_mm"] == 3
        assert ours["multi_label_dice_sd_folds"] == pytest.approx(0.125 * np.sqrt(2))
        assert (ours["n_scans"], ours["n_subjects"], ours["n_folds"]) == (4, 3, 2)
        assert (ours["shifted_by_one"], ours["shifted_one_up"]) == (0.5, 0.25)
        assert 0.5 <= ours["multi_label_dice_low"] < 0.675 < ours["multi_label_dice_high"] <= 0.9

    def test_tests_are_against_the_reference_method(self, table: pd.DataFrame) -> None:
        expected = stats.wilcoxon(DICE["other"], DICE["ours"]).pvalue
        assert np.isnan(table["multi_label_dice_p"][0])
        assert table["multi_label_dice_p"][1] == pytest.approx(expected)
        assert table["binary_dice_p"][1] == 1

    def test_the_papers_values_stand_apart(self, table: pd.DataFrame) -> None:
        assert table["paper_multi_label_dice"][0] == 0.538
        assert table["paper_iterations"][0] == 1500
        assert table.loc[1, [name for name in table if name.startswith("paper_")]].isna().all()

    def test_training_is_the_folds_mean_or_blank(self, table: pd.DataFrame) -> None:
        assert table["parameters"][0] == 1_278_749
        assert table["iterations"][0] == 150
        assert table.loc[1, ["parameters", "iterations", "epochs"]].isna().all()

    def test_what_cannot_be_compared_is_refused(self) -> None:
        scans = scan_table()
        with pytest.raises(UserError, match="other scans than ours"):
            table1(scans.iloc[:-1], TRAINING, METHODS, "ours", 0)
        with pytest.raises(UserError, match="No scan of method other"):
            table1(scans[scans["method"] == "ours"], TRAINING, METHODS, "ours", 0)
        with pytest.raises(UserError, match="s0 was evaluated in more than one fold"):
            table1(pd.concat([scans, scans.head(1)]), TRAINING, METHODS, "ours", 0)
        with pytest.raises(UserError, match="differ in size"):
            table1(scans, TRAINING.assign(parameters=[1, 2]), METHODS, "ours", 0)


class TestText:
    def test_markdown_cells(self, table: pd.DataFrame) -> None:
        header, rule, ours, other, *_ = to_markdown(table, "").splitlines()
        assert header.count("|") == rule.count("|") == ours.count("|") == other.count("|")
        cells = [cell.strip() for cell in ours.strip("|").split("|")]
        low, high = 100 * table.loc[0, ["multi_label_dice_low", "multi_label_dice_high"]]
        assert cells[:2] == ["Ours", f"67.5 [{low:.1f}, {high:.1f}]"]
        assert cells[5:9] == ["1.3M", "150", "53.8", "–"]
        assert [cell.strip() for cell in other.strip("|").split("|")][5:] == ["–"] * 6

    def test_lengths_in_epochs_are_shown_as_such(self) -> None:
        methods = {"ours": METHODS["ours"], "other": {"label": "Other", "paper": {"epochs": 200}}}
        training = pd.concat([TRAINING, TRAINING.assign(method="other", epochs=[1.0, 3.0])])
        table = table1(scan_table(), training, methods, "ours", 0)
        assert table["epochs"].tolist() == [pd.NA, 2]
        assert table["paper_epochs"].tolist() == [pd.NA, 200]
        *_, other = (line for line in to_markdown(table, "").splitlines() if line[:1] == "|")
        assert " 150 (2 epochs) " in other and " 200 epochs " in other

    def test_latex_is_escaped_and_rectangular(self, table: pd.DataFrame) -> None:
        begin, top, groups, headings, middle, *rows, bottom, end, _ = to_latex(
            table, ""
        ).splitlines()
        assert (begin, end) == (r"\begin{tabular}{lrrrrrrrrrr}", r"\end{tabular}")
        assert (top, middle, bottom) == (r"\toprule", r"\midrule", r"\bottomrule")
        assert groups == r"\multicolumn{7}{c}{This run} & \multicolumn{4}{c}{Paper} \\"
        assert r" & Multi-label Dice (\%) & " in headings
        assert rows[1].startswith(r"Other \& co & 25.0 [")
        for row in (headings, *rows):
            assert row.replace(r"\&", "").count("&") == 10 and row.endswith(r" \\")

    @pytest.mark.parametrize(
        ("label", "escaped"),
        [
            (r"a\b", r"a\textbackslash b"),
            ("a$b", r"a\$b"),
            ("a^2", r"a\textasciicircum 2"),
            ("a~b", r"a\textasciitilde b"),
            ("{a}", r"\{a\}"),
            ("5 %", r"5 \%"),
            ("a & b", r"a \& b"),
            ("a_b", r"a\_b"),
            ("#1", r"\#1"),
        ],
    )
    def test_latex_shows_all_characters_of_a_label(
        self, table: pd.DataFrame, label: str, escaped: str
    ) -> None:
        text = to_latex(table.assign(method=[label, "Other"]), "")
        assert text.splitlines()[5].startswith(f"{escaped} & 67.5 [")

    def test_the_page_has_the_cells_of_the_markdown(self, table: pd.DataFrame) -> None:
        header, _, *rows = to_markdown(table, "").splitlines()[:4]
        lines = [line.strip("|").split("|") for line in (header, *rows)]
        cells = [[cell.strip() for cell in line] for line in lines]
        assert Cells(to_html(table, "Table 1", "Note.")).rows == cells

    def test_the_note_stands_below(self, table: pd.DataFrame) -> None:
        assert to_markdown(table, "Note: 5 %.").endswith("\n\nNote: 5 %.\n")
        assert to_latex(table, "Note: 5 %.").endswith("\n% Note: 5 %.\n")

    def test_the_note_says_which_scans_were_predicted_by_what(self) -> None:
        scans = scan_table()
        text = note(scans, ["s8", "s_9"])
        assert "4 scans of 3 subjects in 2 folds" in text
        assert "a network that did not train on it" in text
        assert "Left out by the configuration: s8, s_9." in text
        assert "Left out" not in note(scans)
        assert "1 scan of 1 subject in 1 fold," in note(scans.head(1))

    def test_an_external_test_has_neither_folds_nor_values_of_the_paper(self) -> None:
        scans = scan_table().assign(fold="external")
        text = note(scans)
        assert "4 scans of 3 subjects, none of them trained on" in text
        assert "fold," not in text and "paper" not in text
        table = table1(scans, TRAINING, METHODS, "ours", seed=0)
        assert table.filter(like="paper_").isna().all(axis=None)
        assert table["multi_label_dice_sd_folds"].isna().all()
        written_as = (to_markdown(table, text), to_latex(table, text), to_html(table, "", text))
        for written in written_as:
            assert "Paper" not in written and "67.5" in written
        rows = [line for line in to_latex(table, "").splitlines() if line.startswith("Ours")]
        assert rows[0].count("&") == 6

    def test_a_single_subject_has_no_interval(self) -> None:
        scans = scan_table().groupby("method", sort=False).head(1)
        text = to_markdown(table1(scans, TRAINING, METHODS, "ours", 0), "")
        assert "| Ours | 50.0 | 50.0 | 50.0 | 2.0 |" in text


def test_per_label_means_count_who_has_the_label() -> None:
    columns = ["method", "label", "reference_voxels", "predicted_voxels", "dice_grid",
               "dice_native", "identified", "distance_mm", "hausdorff_mm", "hd95_mm"]  # fmt: skip
    rows = [
        ("ours", IDS["L1"], 10, 12, 0.8, 0.6, 1, 2.0, 5.0, 4.0),
        ("ours", IDS["L1"], 10, 0, 0.0, 0.0, 0, np.nan, np.nan, np.nan),
        ("ours", IDS["L1"], 0, 9, 0.0, 0.0, np.nan, np.nan, np.nan, np.nan),
        ("ours", IDS["T13"], 5, 5, 1.0, 1.0, 0, 30.0, 1.0, 1.0),
        ("ours", IDS["T12"], 5, 5, 1.0, 1.0, 1, 4.0, 1.0, 1.0),
    ]
    table = per_label_table(pd.DataFrame(rows, columns=columns), {"ours": METHODS["ours"]})
    assert table["name"].tolist() == ["T12", "T13", "L1"]
    lumbar = table.set_index("name").loc["L1"]
    assert (lumbar["n"], lumbar["n_reference"], lumbar["n_predicted"]) == (3, 2, 2)
    assert lumbar["dice_grid"] == pytest.approx(0.8 / 3)
    assert (lumbar["id_rate"], lumbar["localisation_error_mm"]) == (0.5, 2)
    assert np.isnan(table.set_index("name").loc["T13", "localisation_error_mm"])


class TestFiles:
    def test_evaluations_are_joined(self, tmp_path: Path) -> None:
        scans = scan_table()
        paths = [tmp_path / f"{method}.csv" for method in DICE]
        for path in paths:
            write_csv(scans[scans["method"] == path.stem], path)
        joined = read_evaluation(paths)
        assert joined["multi_label_dice"].tolist() == DICE["ours"] + DICE["other"]
        assert sorted(file.name for file in tmp_path.iterdir()) == ["other.csv", "ours.csv"]

    @pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
    def test_other_tables_are_refused_by_name(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "scans.csv"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=r"scans\.csv"):
            read_evaluation([path])

    def test_training_metadata_come_from_the_weights(self, tmp_path: Path) -> None:
        path = tmp_path / "ours/fold2/weights.safetensors"
        path.parent.mkdir(parents=True)
        metadata = {"vertseg": json.dumps({"parameters": 7, "iterations": 3})}
        save_file({"w": np.zeros(7)}, path, metadata)
        (row,) = read_training_metadata([path]).to_dict("records")
        assert (row["method"], row["parameters"], row["iterations"]) == ("ours", 7, 3)
        assert np.isnan(row["epochs"])
        metadata = {"vertseg": json.dumps({"parameters": 7, "iterations": 500, "epochs": 2})}
        save_file({"w": np.zeros(7)}, path, metadata)
        assert read_training_metadata([path])["epochs"].tolist() == [2]
        save_file({"w": np.zeros(7)}, path)
        with pytest.raises(UserError, match=r"weights\.safetensors"):
            read_training_metadata([path])
