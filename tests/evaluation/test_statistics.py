import numpy as np
import pytest
from scipy import stats

from vertseg.evaluation.statistics import (
    cluster_bootstrap_interval,
    holm,
    paired_wilcoxon,
    sd_over_folds,
)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([np.nan, 0.02, 0.9])
    assert np.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.9])


def test_the_bootstrap_interval_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = cluster_bootstrap_interval(values, [str(i) for i in range(400)], seed=1)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
    assert (low, high) == cluster_bootstrap_interval(values, [str(i) for i in range(400)], seed=1)


def test_repeated_scans_of_a_subject_add_no_certainty() -> None:
    values = np.random.default_rng(0).normal(size=40)
    subjects = [str(i) for i in range(40)]
    single = np.diff(cluster_bootstrap_interval(values, subjects, seed=0))
    repeated = np.diff(cluster_bootstrap_interval(np.tile(values, 5), subjects * 5, seed=0))
    assert repeated == pytest.approx(single, rel=0.1)


def test_sd_over_folds_is_that_of_the_means() -> None:
    assert sd_over_folds([1, 3, 4, 8], [0, 0, 1, 1]) == pytest.approx(np.std([2, 6], ddof=1))
    assert np.isnan(sd_over_folds([1, 2], [0, 0]))


def test_wilcoxon_is_scipys() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=20), rng.normal(0.5, 1, 20)
    assert paired_wilcoxon(one, other) == pytest.approx(stats.wilcoxon(one, other).pvalue)
