"""Summaries over scans and folds, and paired comparisons of methods."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 10_000


def cluster_bootstrap_interval(
    values: Sequence[float] | np.ndarray, clusters: Sequence[str] | np.ndarray, seed: int
) -> tuple[float, float]:
    """Bootstrap 95 % interval (percentiles) of a mean whose values come in clusters.

    Whole clusters are drawn with replacement: several scans of one subject are not independent.

    Args:
        values: one value for each scan, NaN if it is not defined.
        clusters: the subject of each scan.
        seed: seed of the resampling.

    Returns:
        Lower and upper end; NaN for fewer than two clusters.
    """
    value_array = np.asarray(values, dtype=float)
    defined = np.isfinite(value_array)
    names, members = np.unique(np.asarray(clusters)[defined], return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    sums = np.bincount(members, weights=value_array[defined])
    sizes = np.bincount(members)
    shares = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), shares, size=RESAMPLES)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws @ sums / (draws @ sizes), [tail, 1 - tail])
    return float(low), float(high)


def sd_over_folds(values: Sequence[float] | np.ndarray, folds: Sequence[int] | np.ndarray) -> float:
    """Sample standard deviation of the folds' means; NaN for a single fold.

    Args:
        values: one value for each scan; NaN is left out.
        folds: the fold of each scan.
    """
    value_array, fold_array = np.asarray(values, dtype=float), np.asarray(folds)
    defined = np.isfinite(value_array)
    means = [
        value_array[defined & (fold_array == fold)].mean()
        for fold in np.unique(fold_array[defined])
    ]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def paired_wilcoxon(
    values: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray
) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test over pairs of values of one scan.

    Args:
        values: values of one method; a pair with a NaN is left out.
        reference: the other method's values of the same scans.

    Returns:
        The p-value; 1 if all differences are zero, NaN without a pair.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return float("nan")
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several tests; NaN stays and is not counted.

    Holm, S. (1979). A simple sequentially rejective multiple test procedure.
    """
    raw = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(np.isfinite(raw))
    order = tested[np.argsort(raw[tested], kind="stable")]
    scaled = raw[order] * np.arange(len(order), 0, -1)
    corrected = np.full(len(raw), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()
