"""Cross-validation folds: seeded, balanced in scans and labels, never splitting a subject."""

import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.tsv import read_tsv, write_tsv

EXTERNAL = "external"
"""Fold of the scans of the external test, which no network trains on and no table lists."""

FOLD_COLUMNS = ["scan", "subject", "fold"]


def scans_by_subject(subject_of: Mapping[str, str], number: int) -> dict[str, list[str]]:
    """Scan names of each subject, both in the order of their names.

    Args:
        subject_of: subject of each scan, by scan name.
        number: how many folds the subjects shall fill.

    Raises:
        UserError: there are fewer subjects than folds.
    """
    scans_of: dict[str, list[str]] = {}
    for subject, scan in sorted((subject, scan) for scan, subject in subject_of.items()):
        scans_of.setdefault(subject, []).append(scan)
    if len(scans_of) < number:
        raise UserError(
            f"{len(scans_of)} subjects cannot fill {number} folds. "
            "Add scans or lower folds.number in the configuration."
        )
    return scans_of


def check_batch(
    subject_of: Mapping[str, str], number: int, folds: Collection[int], size: int, method: str
) -> None:
    """Refuse a batch that some fold's training part cannot fill, however the folds are drawn.

    Args:
        subject_of: subject of each scan, by scan name.
        number: how many folds there are.
        folds: those whose networks are trained.
        size: scans in a batch, all different.
        method: the method's key, for messages.

    Raises:
        UserError: the batch is too large.
    """
    scans = [len(names) for names in scans_by_subject(subject_of, number).values()]
    shares = _shares(len(subject_of), number)
    # A subject's scans stay together, so that folds may differ from their shares.
    held_out = min(scans)
    if max(scans) == 1:
        held_out = max(shares[fold] for fold in folds)
    elif len(set(folds)) == number:
        held_out = max(shares[0], *scans)
    left = len(subject_of) - held_out
    if size > left:
        raise UserError(
            f"training.batch_size: a batch of {method} holds {size} different scans, but of "
            f"{len(subject_of)} scans in {number} folds, {left} are left to train on. Add scans, "
            "raise folds.number, or lower training.batch_size."
        )


def assign_folds(
    subject_of: Mapping[str, str],
    labels_of: Mapping[str, Collection[str]],
    number: int,
    seed: int,
) -> dict[str, int]:
    """Fold of every scan, by iterative stratification.

    The label that fewest unassigned subjects have comes first; each of its subjects, shuffled by
    the seed, goes to the fold that has the smallest share of the subject's labels. A fold is full
    at its share of the scans: 61 scans of 61 subjects give folds of 21, 20 and 20, as in the paper.
    A subject for whose scans no fold has room goes to the smallest one.
    After Sechidis et al. 2011, On the stratification of multi-label data.

    Args:
        subject_of: subject of each scan, by scan name; their order does not matter.
        labels_of: names of the vertebrae in each scan, by scan name.
        number: how many folds.
        seed: of the shuffle.

    Returns:
        Fold index (0 to number - 1) by scan name, in the order of scan names.

    Raises:
        UserError: there are fewer subjects than folds.
    """
    scans_of = scans_by_subject(subject_of, number)
    labels = {
        subject: {label for scan in scans for label in labels_of[scan]}
        for subject, scans in scans_of.items()
    }
    total = sum(map(len, scans_of.values()))
    capacities = _shares(total, number)
    waiting = sorted(scans_of)
    random.Random(seed).shuffle(waiting)
    waiting.sort(key=lambda subject: -len(scans_of[subject]))
    total_of = Counter(label for own in labels.values() for label in own)
    sizes, held = [0] * number, Counter[tuple[int, str]]()
    fold_of: dict[str, int] = {}
    while waiting:
        counts = Counter(label for subject in waiting for label in labels[subject])
        rarest = min(counts, key=lambda label: (counts[label], label), default="")
        for subject in [s for s in waiting if not rarest or rarest in labels[s]]:
            scans = scans_of[subject]
            excess = [max(sizes[fold] + len(scans) - capacities[fold], 0) for fold in range(number)]
            fold = min(
                range(number),
                key=lambda fold: (
                    excess[fold],
                    sizes[fold] if excess[fold] else 0,
                    sum(held[fold, label] / total_of[label] for label in labels[subject]),
                    sizes[fold],
                ),
            )
            sizes[fold] += len(scans)
            held.update((fold, label) for label in labels[subject])
            fold_of.update(dict.fromkeys(scans, fold))
            waiting.remove(subject)
    return dict(sorted(fold_of.items()))


def write_folds(
    path: str | os.PathLike[str], subject_of: Mapping[str, str], fold_of: Mapping[str, int]
) -> None:
    """Write folds.tsv atomically: scan, subject, fold."""
    rows = [(scan, subject, fold_of[scan]) for scan, subject in subject_of.items()]
    write_tsv(path, FOLD_COLUMNS, rows)


def read_folds(path: str | os.PathLike[str]) -> dict[str, str]:
    """Fold of every scan of folds.tsv by scan name: "0", "1", ...

    Raises:
        UserError: the table is missing or has other columns, or, by hand, a subject has several
            folds or a scan several rows.
    """
    rows = read_tsv(path, "table of folds")
    if not rows or not all(row.get("scan") and row.get("fold") for row in rows):
        raise UserError(
            f"{path}: not a table of folds (scan, subject, fold). Delete it, run again."
        )
    fold_of = {row["scan"]: row["fold"] for row in rows}
    pairs = {(row.get("subject") or row["scan"], row["fold"]) for row in rows}
    divided = [subject for subject, folds in Counter(one for one, _ in pairs).items() if folds > 1]
    if divided or len(fold_of) < len(rows):
        raise UserError(
            f"{path}: each scan must have one row, and each subject one fold, or networks are "
            "tested on patients that they learned from. Delete the table, run again."
            + (f" In several folds: {', '.join(sorted(divided))}." if divided else "")
        )
    return fold_of


def divide_caches(
    folds: str | os.PathLike[str], caches: Iterable[str], fold: str
) -> tuple[list[Path], list[Path]]:
    """Divide cached scans into those outside a fold and those inside.

    Args:
        folds: path of folds.tsv.
        caches: files named `{scan}.safetensors`.
        fold: "0", "1", ... or `EXTERNAL`.

    Raises:
        UserError: a scan has no fold, or one of the external test has.
    """
    fold_of = read_folds(folds)
    paths = list(map(Path, caches))
    unknown = [path.stem for path in paths if (path.stem in fold_of) == (fold == EXTERNAL)]
    if unknown:
        what = "a fold for the external" if fold == EXTERNAL else "no fold for"
        raise UserError(f"{folds}: {what} {', '.join(unknown)}. Delete the table, run again.")
    if fold == EXTERNAL:
        return [], paths
    outside = [path for path in paths if fold_of[path.stem] != fold]
    return outside, [path for path in paths if fold_of[path.stem] == fold]


def _shares(total: int, number: int) -> list[int]:
    """Scans of each fold where a fold has its share of all, the first ones one more."""
    return [total // number + (fold < total % number) for fold in range(number)]
