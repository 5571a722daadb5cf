"""Table 1 and the table of labels, from small tables worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_tables import DICE, METHODS, TRAINING, scan_table

from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.evaluation.tables import per_label_table, table1


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
