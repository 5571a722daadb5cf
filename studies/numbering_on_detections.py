"""Does numbering in order give a detector's vertebrae the right levels, in real CT, and know it?

    python -m studies.numbering_on_detections training.tsv.gz

Reads points of real scans (columns scan, source, kind, level, x_mm, y_mm, z_mm, p_cervical,
p_thoracic, p_lumbar): reference vertebrae with their levels, and a detector's finds with
probabilities of the region. Learns distances, evidence and the weight of both from four fifths of
the subjects, numbers the last fifth, five times over. Prints Markdown tables: shares of vertebrae
and of scans that are right before and after, how probable the answers said they were, and the
distances between neighbours in all scans (`spine_model.STEP_MM`).
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import linear_sum_assignment, minimize
from scipy.spatial.distance import cdist

from vertseg.anatomy.labels import BACKGROUND, CRANIOCAUDAL, IDS, NAMES, NUM_CLASSES, RANK
from vertseg.core.progress import progress
from vertseg.segmentation.numbering import Numbering, log_probability, number_levels
from vertseg.segmentation.spine_model import (
    SACRUM,
    STEP_MM,
    TAILS,
    VARIANTS,
    SpineModel,
)

SEED, FOLDS = 2021, 5
NEAR_MM = 15.0
"""Distance from all reference points within which a detection is one of them."""

SACRUM_MM = 50.0
"""Distance below L5 or L6 within which a detection is taken for S1, which has no reference."""

REGIONS = ("cervical", "thoracic", "lumbar")
GROUPS = (("C1", "C6"), ("C7", "C7"), ("T1", "T1"), ("T2", "T10"), ("T11", "T11"), ("T12", "T13"),
          ("L1", "L1"), ("L2", "L4"), ("L5", "L5"), ("L6", "L6"))  # fmt: skip
"""First and last of levels that look alike to a detector."""

RATIO_CUTS = (-5, -2, 0, 2, 5)
SURE_CUTS = (0.5, 0.9, 0.98)
"""A detector's probabilities are cut into classes by the log-odds of each region against the next,
and by the largest probability."""

COVERAGES = (1.0, 0.9, 0.8)
"""Shares of the scans, the surest first, of which the share without a mistake is printed."""

BINS = 10
"""Classes of probability, equally wide, in the expected calibration error."""

CALIBRATION_SCANS = 60
"""Scans of a fold's training part by which the weights are set; half lose a fifth of their
detections."""

RESAMPLES = 1000

SHAPE = (len(RATIO_CUTS) + 1, len(RATIO_CUTS) + 1, len(SURE_CUTS) + 1)
CLASSES = math.prod(SHAPE)

USUAL = [name for name in map(NAMES.get, CRANIOCAUDAL) if name != "T13"]


@dataclass(frozen=True)
class Scan:
    """A scan's points, both kinds cranial to caudal.

    Attributes:
        subject: who was scanned.
        reference: label values (m,).
        reference_mm: (m, 3).
        found_mm: detections (n, 3).
        regions: their probabilities (n, 3).
        truth: their labels (n,), `SACRUM` for S1, `BACKGROUND` for others beside the reference.
    """

    subject: str
    reference: np.ndarray
    reference_mm: np.ndarray
    found_mm: np.ndarray
    regions: np.ndarray
    truth: np.ndarray


def read_scans(path: Path) -> list[Scan]:
    """All scans in which something was detected."""
    table = pd.read_csv(path, sep="\t")
    scans = []
    for _, rows in table.groupby("scan"):
        # Cranial first, in all of these scans.
        rows = rows.sort_values("z_mm", ascending=False)
        reference, found = (rows[rows["kind"] == kind] for kind in ("reference", "detected"))
        if found.empty:
            continue
        labels = reference["level"].map(IDS).to_numpy()
        points, found_mm = (
            part[["x_mm", "y_mm", "z_mm"]].to_numpy() for part in (reference, found)
        )
        distance = cdist(points, found_mm)
        pairs = linear_sum_assignment(np.minimum(distance, NEAR_MM))
        truth = np.full(len(found), BACKGROUND)
        for vertebra, detection in zip(*pairs, strict=True):
            if distance[vertebra, detection] < NEAR_MM:
                truth[detection] = labels[vertebra]
        if NAMES[labels[-1]] in ("L5", "L6"):
            below = np.flatnonzero((truth == BACKGROUND) & (distance[-1] < SACRUM_MM))
            truth[below[found_mm[below, 2] < points[-1, 2]][:1]] = SACRUM
        regions = found[[f"p_{name}" for name in REGIONS]].to_numpy()
        subject = subject_of(rows["source"].iloc[0])
        scans.append(Scan(subject, labels, points, found_mm, regions, truth))
    return scans


def subject_of(source: str) -> str:
    """Name of the person in a scan; VerSe's two releases share subjects."""
    parts = source.split("/")
    return next((part for part in parts if part.startswith("sub-")), parts[2])


def folds(scans: Sequence[Scan]) -> Iterator[tuple[list[Scan], list[Scan]]]:
    """For each fold scans to learn from, and the held-out scans of other subjects."""
    subjects = np.unique([scan.subject for scan in scans])
    np.random.default_rng(SEED).shuffle(subjects)
    fold_of = {subject: number % FOLDS for number, subject in enumerate(subjects)}
    for fold in range(FOLDS):
        held = [fold_of[scan.subject] == fold for scan in scans]
        yield (
            [scan for scan, out in zip(scans, held, strict=True) if not out],
            [scan for scan, out in zip(scans, held, strict=True) if out],
        )


def fit_spacing(scans: Sequence[Scan]) -> tuple[dict[tuple[str, str], float], float, float]:
    """Distances between neighbours: mean in mm by pair, scale about a person's, SD of size.

    A pair's mean and a person's size are found in turns: sizes are shrunk towards 0 by how much of
    a scan's mean deviation is chance.
    """
    table = pd.DataFrame(
        [
            (number, (NAMES[upper], NAMES[lower]), math.log(np.linalg.norm(b - a)))
            for number, scan in enumerate(scans)
            for (upper, a), (lower, b) in itertools.pairwise(
                zip(scan.reference, scan.reference_mm, strict=True)
            )
        ],
        columns=["scan", "pair", "log"],
    )
    size = pd.Series(0.0, index=table.index)
    for _ in range(20):
        mean = dict((table["log"] - size).groupby(table["pair"]).mean())
        deviation = table["log"] - table["pair"].map(mean)
        by_scan = deviation.groupby(table["scan"]).agg(["mean", "size", "var"]).dropna()
        within = np.average(by_scan["var"], weights=by_scan["size"] - 1)
        between = by_scan["mean"].var() - (within / by_scan["size"]).mean()
        shrunk = by_scan["mean"] * between / (between + within / by_scan["size"])
        size = table["scan"].map(shrunk).fillna(0)
    *_, scale = stats.t.fit(deviation - size, fdf=TAILS, floc=0)
    to_sacrum = [
        math.log(np.linalg.norm(scan.reference_mm[-1] - point))
        for scan in scans
        for point in scan.found_mm[scan.truth == SACRUM]
    ]
    mean |= {(lowest, "S1"): np.mean(to_sacrum) for lowest in ("L4", "L5", "L6")}
    steps = {**STEP_MM, **{pair: round(math.exp(value), 1) for pair, value in mean.items()}}
    return steps, float(scale), math.sqrt(between)


def region_class(regions: np.ndarray) -> np.ndarray:
    """Regions' probabilities (n, 3) cut into classes: a number (n,) below `CLASSES`."""
    odds = np.log(regions / (1 - regions))
    ratios = np.digitize(odds[:, :2] - odds[:, 1:], RATIO_CUTS)
    sure = np.digitize(regions.max(axis=1), SURE_CUTS)
    return np.ravel_multi_index((*ratios.T, sure), SHAPE)


def fit_evidence(scans: Sequence[Scan]) -> np.ndarray:
    """Log-probability (C, classes) of a detection's class by its label, `BACKGROUND` for none."""
    classes = region_class(np.concatenate([scan.regions for scan in scans]))
    truth = np.concatenate([scan.truth for scan in scans])
    counts = np.zeros((NUM_CLASSES, CLASSES))
    np.add.at(counts, (truth, classes), 1)
    for first, last in GROUPS:
        group = list(CRANIOCAUDAL[RANK[IDS[first]] : RANK[IDS[last]] + 1])
        counts[group] = counts[group].sum(axis=0)
    counts += 0.1
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def fit(scans: Sequence[Scan]) -> tuple[SpineModel, np.ndarray]:
    """Spines and evidence, as `decode` needs them, of the scans to learn from."""
    missed, extra, first, last = [], [], np.ones(NUM_CLASSES), np.ones(len(CRANIOCAUDAL) + 1)
    for scan in scans:
        extra += (scan.truth == BACKGROUND).tolist()
        found = np.flatnonzero(np.isin(scan.reference, scan.truth))
        if not len(found):
            continue
        first[scan.reference[found[0]]] += 1
        lowest = NAMES[scan.reference[found[-1]]]
        last[
            0
            if SACRUM in scan.truth
            else 1
            if lowest == "L6"
            else len(USUAL) - 1 - USUAL.index(lowest)
        ] += 1
        missed += (~np.isin(scan.reference[found[0] : found[-1]], scan.truth)).tolist()
    steps, step_sd, size_sd = fit_spacing(scans)
    model = SpineModel(
        steps,
        step_sd,
        size_sd,
        missed=math.log(np.mean(missed)),
        extra=math.log(np.mean(extra)),
        extra_small=math.log(np.mean(extra)),
        below_sacrum=math.log(np.mean(extra)),
        halved=-math.inf,
        variants={
            "T13": share_of(scans, ("T12", "L1"), "T13"),
            "no T12": share_of(scans, ("T11", "L1"), "T12", present=False),
            "L6": share_of(scans, ("L5",), "L6"),
            # The points do not show which scans end at L4 for want of L5.
            "no L5": VARIANTS["no L5"],
        },
        first=np.log(first / first.sum()),
        last=np.log(last / last.sum()),
    )
    return model, fit_evidence(scans)


def calibrate(
    model: SpineModel, table: np.ndarray, scans: Sequence[Scan], rng: np.random.Generator
) -> SpineModel:
    """The model with those weights that make the true labels of some scans most probable.

    Detections err together, people differ in more than size, and nobody knows beforehand how many
    levels a detector misses in a scan: weight of the evidence, spread of distances and rate of
    missed levels are set by the likelihood of the truth.
    """
    chosen = [scans[at] for at in rng.permutation(len(scans))[:CALIBRATION_SCANS]]
    half = len(chosen) // 2
    chosen = [*chosen[:half], *(with_misses(scan, rng) for scan in chosen[half:])]
    chosen = [scan for scan in chosen if len(scan.truth)]

    def weighted(logarithms: np.ndarray) -> SpineModel:
        weight, spread, missed = np.exp(logarithms)
        return replace(
            model,
            evidence_weight=float(weight),
            step_sd=float(spread),
            missed=math.log(min(missed, 0.5)),
        )

    def surprise(logarithms: np.ndarray) -> float:
        """Mean negative log-probability of the truth; a wrong reference costs at most 10."""
        tried = weighted(logarithms)
        return float(
            np.mean(
                [
                    min(-log_probability(scan.truth, *_input(scan, table), tried), 10.0)
                    for scan in chosen
                ]
            )
        )

    found = minimize(
        surprise,
        np.log([0.7, 1.3 * model.step_sd, 0.1]),
        method="Nelder-Mead",
        options={
            "maxfev": 24,
            "xatol": 0.05,
            "fatol": 0.002,
            "initial_simplex": np.log([0.7, 1.3 * model.step_sd, 0.1])
            + 0.4 * np.vstack([np.zeros(3), np.eye(3)]),
        },
    )
    return weighted(found.x)


def share_of(
    scans: Sequence[Scan], shown: Sequence[str], level: str, present: bool = True
) -> float:
    """Share of the scans that show some levels in which another one is present, or absent."""
    names = [{NAMES[label] for label in scan.reference} for scan in scans]
    cases = [(level in one) == present for one in names if one.issuperset(shown)]
    return (sum(cases) + 0.5) / (len(cases) + 1)


def count_from_changes(scan: Scan) -> np.ndarray:
    """Labels (n,) by counting from the nearest change of region, as one would without a model.

    Where no change is seen, cervical vertebrae begin with C1, thoracic ones end with T12 and lumbar
    ones with L5.
    """
    kinds = scan.regions.argmax(axis=1)
    anchors = []
    for upper, first in ((0, "T1"), (1, "L1")):
        if {upper, upper + 1} <= set(kinds):
            wrong = [
                np.sum(kinds[:cut] > upper) + np.sum(kinds[cut:] <= upper)
                for cut in range(len(kinds) + 1)
            ]
            anchors.append((int(np.argmin(wrong)), USUAL.index(first)))
    if not anchors:
        last = len(kinds) - 1
        kind = int(np.bincount(kinds).argmax())
        anchors = [[(0, 0), (last, USUAL.index("T12")), (last, USUAL.index("L5"))][kind]]
    labels = np.full(len(kinds), BACKGROUND)
    for number in range(len(kinds)):
        at, rank = min(anchors, key=lambda anchor: abs(number - anchor[0] + 0.5))
        if 0 <= rank + number - at < len(USUAL):
            labels[number] = IDS[USUAL[rank + number - at]]
    return labels


def _input(scan: Scan, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence, centres and sizes of a scan's detections."""
    evidence = table[:, region_class(scan.regions)].T
    return evidence, scan.found_mm, np.ones(len(evidence))


def decode(scan: Scan, model: SpineModel, table: np.ndarray) -> Numbering:
    """The most probable order of a scan's detections."""
    return number_levels(*_input(scan, table), model)


def with_misses(scan: Scan, rng: np.random.Generator) -> Scan:
    """A fifth of the detections taken away, at random."""
    return _selected(scan, rng.random(len(scan.truth)) >= 0.2)


def with_extras(scan: Scan, rng: np.random.Generator, false_regions: np.ndarray) -> Scan:
    """A false detection put between two neighbours, with probabilities (3,) that one had."""
    if len(scan.truth) < 2:
        return scan
    at = int(rng.integers(1, len(scan.truth)))
    between = scan.found_mm[at - 1 : at + 1]
    return replace(
        scan,
        found_mm=np.insert(scan.found_mm, at, rng.dirichlet((3, 3)) @ between, axis=0),
        regions=np.insert(scan.regions, at, rng.choice(false_regions), axis=0),
        truth=np.insert(scan.truth, at, BACKGROUND),
    )


def _selected(scan: Scan, kept: np.ndarray) -> Scan:
    return replace(
        scan, found_mm=scan.found_mm[kept], regions=scan.regions[kept], truth=scan.truth[kept]
    )


def measure(scan: Scan, labels: np.ndarray) -> dict[str, float]:
    """Counts of a scan: vertebrae found, right ones, false ones, S1, and which got a level."""
    real = ~np.isin(scan.truth, (BACKGROUND, SACRUM))
    right = labels[real] == scan.truth[real]
    return {
        "vertebrae": int(real.sum()),
        "right": int(right.sum()),
        "all right": float(right.all()),
        "false": int((~real).sum()),
        "false named": int((labels[~real] != BACKGROUND).sum()),
        "S1": int((scan.truth == SACRUM).sum()),
        "S1 named": int((labels[scan.truth == SACRUM] != BACKGROUND).sum()),
    }


def groups_of(scan: Scan) -> list[str]:
    """Rows of the table that a scan counts in, as it was detected."""
    names = {NAMES[label] for label in scan.reference}
    junctions = {
        (True, True): "C7-T1 and T12-L1 in view",
        (True, False): "C7-T1 in view",
        (False, True): "T12-L1 in view",
        (False, False): "neither in view",
    }
    found = np.flatnonzero(np.isin(scan.reference, scan.truth))
    groups = [
        "all",
        junctions["C7" in names and "T1" in names, bool({"T11", "T12"} & names) and "L1" in names],
    ]
    missed = len(found) and len(found) <= found[-1] - found[0]
    extra = not np.all(np.isin(scan.truth, scan.reference))
    groups += ["a level missed between others"] if missed else []
    groups += ["something else detected"] if extra else []
    groups += ["neither"] if not missed and not extra else []
    groups += ["with L6"] if "L6" in names else []
    groups += ["without T12"] if "T12" not in names and {"T11", "L1"} <= names else []
    return groups


@dataclass(frozen=True)
class Certainty:
    """What was said of a scan, and what was right.

    Attributes:
        group: kind of scan.
        whole: probability of all labels.
        is_right: every vertebra has its label.
        vertebrae: probability and rightness (n, 2) of each vertebra's label.
    """

    group: str
    whole: float
    is_right: bool
    vertebrae: np.ndarray


def compare(
    scan: Scan, model: SpineModel, table: np.ndarray, changed: dict[str, Scan]
) -> Iterator[tuple[dict[str, float | str], Certainty]]:
    """Results of a scan for each of its groups, and of changed copies of it."""
    for groups, one in ((groups_of(scan), scan), *(([name], one) for name, one in changed.items())):
        if not np.isin(one.truth, one.reference).any():
            continue
        before = measure(one, count_from_changes(one))
        numbering = decode(one, model, table)
        labels = np.where(numbering.labels == SACRUM, BACKGROUND, numbering.labels)
        after = measure(one, labels)
        is_right = labels == np.where(one.truth == SACRUM, BACKGROUND, one.truth)
        real = ~np.isin(one.truth, (BACKGROUND, SACRUM))
        vertebrae = np.stack([numbering.right, is_right], axis=1)[real]
        for group in groups:
            yield (
                {"group": group} | before | {f"{key} after": n for key, n in after.items()},
                Certainty(group, numbering.whole, bool(is_right[real].all()), vertebrae),
            )


def calibration_error(
    said: np.ndarray, right: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """Expected calibration error of probabilities (n,), in `BINS` equally wide classes.

    Args:
        said: probabilities.
        right: (n,) whether it was so.
        weight: (n,) of each case; alike by default.
    """
    weight = np.ones(len(said)) if weight is None else weight
    classes = np.minimum((said * BINS).astype(int), BINS - 1)
    return float(
        sum(
            abs(weight[classes == one] @ (said - right)[classes == one])
            for one in np.unique(classes)
        )
        / weight.sum()
    )


def print_certainty(certainties: Sequence[Certainty]) -> None:
    """Markdown: how probable the answers said they were, and how often they were right."""
    rng = np.random.default_rng(SEED)
    titles = [f"right at {coverage:.0%} coverage" for coverage in COVERAGES]
    print("\n| scans | n | said to be right, % |", " | ".join(titles),
          "| calibration error of scans | of vertebrae | AUC of the doubt |")  # fmt: skip
    print("|---|---:|---:|" + "---:|" * (len(COVERAGES) + 3))
    for group in dict.fromkeys(one.group for one in certainties):
        part = [one for one in certainties if one.group == group]
        whole = np.array([one.whole for one in part])
        right = np.array([one.is_right for one in part])
        cells = []
        for coverage in COVERAGES:
            kept = right[np.argsort(-whole)][: max(round(coverage * len(part)), 1)]
            low, high = stats.binomtest(int(kept.sum()), len(kept)).proportion_ci(method="wilson")
            cells.append(f"{100 * kept.mean():.1f} ({100 * low:.1f}-{100 * high:.1f})")
        errors = [
            calibration_error(*np.concatenate([part[at].vertebrae for at in chosen]).T)
            for chosen in (
                np.arange(len(part)),
                *rng.integers(0, len(part), (RESAMPLES if len(part) < 500 else 100, len(part))),
            )
        ]
        low, high = np.quantile(errors[1:], [0.025, 0.975])
        cells.append(f"{calibration_error(whole, right):.3f}")
        cells += [f"{errors[0]:.3f} ({low:.3f}-{high:.3f})", f"{worst_first_auc(whole, right):.2f}"]
        print(f"| {group} | {len(part)} | {100 * whole.mean():.1f} | {' | '.join(cells)} |")


def worst_first_auc(said: np.ndarray, right: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Probability that a wrong scan was said to be less probable than a right one.

    Arguments as of `calibration_error`.
    """
    if right.all() or not right.any():
        return math.nan
    weight = np.ones(len(said)) if weight is None else weight
    below = said[~right][:, None] < said[right]
    same = said[~right][:, None] == said[right]
    pair = weight[~right][:, None] * weight[right]
    return float((pair * (below + same / 2)).sum() / pair.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("points", type=Path, help="TSV, may be compressed")
    scans = read_scans(parser.parse_args().points)
    rng = np.random.default_rng(SEED)
    rows, certainties = [], []
    for fold, (training, held_out) in enumerate(folds(scans)):
        model, table = fit(training)
        model = calibrate(model, table, training, rng)
        print(
            f"Fold {fold}: weight of the evidence {model.evidence_weight:.2f}, scale of distances "
            f"{model.step_sd:.3f}, missed levels {math.exp(model.missed):.3f}\n"
        )
        false_regions = np.concatenate(
            [scan.regions[scan.truth == BACKGROUND] for scan in training]
        )
        for scan in progress(held_out, f"fold {fold}"):
            changed = {
                "all, a fifth of detections removed": with_misses(scan, rng),
                "all, a false one added": with_extras(scan, rng, false_regions),
            }
            for row, certainty in compare(scan, model, table, changed):
                rows.append({"fold": fold} | row)
                certainties.append(certainty)
    print_results(pd.DataFrame(rows))
    print_certainty(certainties)
    steps, step_sd, size_sd = fit_spacing(scans)
    print(f"\nSpacing in all scans: scale {step_sd:.3f}, SD of size {size_sd:.3f}\n")
    print("| levels | mm |\n|---|---:|")
    for pair, mm in steps.items():
        print(f"| {'-'.join(pair)} | {mm:.1f} |")


def print_results(rows: pd.DataFrame) -> None:
    """Markdown: before and after, mean over scans or vertebrae, SD over folds in brackets."""
    print("| scans | n | vertebrae | right before, % | right after, % | all right before, % "
          "| all right after, % | false named before | after |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for group, part in rows.groupby("group", sort=False):
        by_fold = part.groupby("fold")
        cells = []
        for name in ("right", "all right"):
            for suffix in ("", " after"):
                weight = "vertebrae" if name == "right" else None
                values = by_fold.apply(_share, name + suffix, weight, include_groups=False)
                mean = _share(part, name + suffix, weight)
                cells.append(f"{100 * mean:.1f} ({100 * values.std():.1f})")
        false = f"{part['false named'].sum()} of {part['false'].sum()}"
        print(f"| {group} | {len(part)} | {part['vertebrae'].sum()} | {' | '.join(cells)} "
              f"| {false} | {part['false named after'].sum()} |")  # fmt: skip
    everything = rows[rows["group"] == "all"]
    print(f"\nS1 was given a level in {everything['S1 named'].sum()} of {everything['S1'].sum()} "
          f"scans that show it before, in {everything['S1 named after'].sum()} after. "
          f"{np.sum(everything['all right after'] > everything['all right'])} scans became right, "
          f"{np.sum(everything['all right after'] < everything['all right'])} wrong.")  # fmt: skip


def _share(part: pd.DataFrame, name: str, weight: str | None) -> float:
    return float(part[name].sum() / (part[weight].sum() if weight else len(part)))


if __name__ == "__main__":
    main()
