"""Table 1 as Markdown, LaTeX and HTML."""

import pandas as pd
import pytest
from html_cells import Cells
from small_tables import METHODS, TRAINING, scan_table

from vertseg.evaluation.formats import note, to_html, to_latex, to_markdown
from vertseg.evaluation.tables import table1


@pytest.fixture
def table() -> pd.DataFrame:
    return table1(scan_table(), TRAINING, METHODS, "ours", seed=0)


def test_markdown_cells(table: pd.DataFrame) -> None:
    header, rule, ours, other, *_ = to_markdown(table, "").splitlines()
    assert header.count("|") == rule.count("|") == ours.count("|") == other.count("|")
    cells = [cell.strip() for cell in ours.strip("|").split("|")]
    low, high = 100 * table.loc[0, ["multi_label_dice_low", "multi_label_dice_high"]]
    assert cells[:2] == ["Ours", f"67.5 [{low:.1f}, {high:.1f}]"]
    assert cells[5:9] == ["1.3M", "150", "53.8", "–"]
    assert [cell.strip() for cell in other.strip("|").split("|")][5:] == ["–"] * 6


def test_lengths_in_epochs_are_shown_as_such() -> None:
    methods = {"ours": METHODS["ours"], "other": {"label": "Other", "paper": {"epochs": 200}}}
    training = pd.concat([TRAINING, TRAINING.assign(method="other", epochs=[1.0, 3.0])])
    table = table1(scan_table(), training, methods, "ours", 0)
    assert table["epochs"].tolist() == [pd.NA, 2]
    assert table["paper_epochs"].tolist() == [pd.NA, 200]
    *_, other = (line for line in to_markdown(table, "").splitlines() if line[:1] == "|")
    assert " 150 (2 epochs) " in other and " 200 epochs " in other


def test_latex_is_escaped_and_rectangular(table: pd.DataFrame) -> None:
    begin, top, groups, headings, middle, *rows, bottom, end, _ = to_latex(table, "").splitlines()
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
    table: pd.DataFrame, label: str, escaped: str
) -> None:
    text = to_latex(table.assign(method=[label, "Other"]), "")
    assert text.splitlines()[5].startswith(f"{escaped} & 67.5 [")


def test_the_page_has_the_cells_of_the_markdown(table: pd.DataFrame) -> None:
    header, _, *rows = to_markdown(table, "").splitlines()[:4]
    lines = [line.strip("|").split("|") for line in (header, *rows)]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert Cells(to_html(table, "Table 1", "Note.")).rows == cells


def test_the_note_stands_below(table: pd.DataFrame) -> None:
    assert to_markdown(table, "Note: 5 %.").endswith("\n\nNote: 5 %.\n")
    assert to_latex(table, "Note: 5 %.").endswith("\n% Note: 5 %.\n")


def test_the_note_says_which_scans_were_predicted_by_what() -> None:
    scans = scan_table()
    text = note(scans, ["s8", "s_9"])
    assert "4 scans of 3 subjects in 2 folds" in text
    assert "a network that did not train on it" in text
    assert "Left out by the configuration: s8, s_9." in text
    assert "Left out" not in note(scans)
    assert "1 scan of 1 subject in 1 fold," in note(scans.head(1))


def test_an_external_test_has_neither_folds_nor_values_of_the_paper() -> None:
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


def test_a_single_subject_has_no_interval() -> None:
    scans = scan_table().groupby("method", sort=False).head(1)
    text = to_markdown(table1(scans, TRAINING, METHODS, "ours", 0), "")
    assert "| Ours | 50.0 | 50.0 | 50.0 | 2.0 |" in text


def test_labels_of_odd_characters_are_text_in_every_format() -> None:
    label = r"[a\b] $x$ a^2 c~d {z} e|f"
    methods = METHODS | {"ours": METHODS["ours"] | {"label": label}}
    table = table1(scan_table(), TRAINING, methods, "ours", seed=0)
    latex = r"{}[a\textbackslash b] \$x\$ a\textasciicircum 2 c\textasciitilde d \{z\} e|f & 67.5"
    assert any(line.startswith(latex) for line in to_latex(table, "").splitlines())
    assert r"| [a\b] $x$ a^2 c~d {z} e\|f | 67.5" in to_markdown(table, "")
