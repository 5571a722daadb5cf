"""Cross-validation folds: seeded, balanced in scans, never splitting a subject."""

import random
from collections.abc import Iterable

from vertseg.errors import UserError
from vertseg.samples import Sample


def assign_folds(samples: Iterable[Sample], number: int, seed: int) -> dict[str, int]:
    """Fold of every scan.

    Subjects are shuffled by the seed, those with most scans first, and each goes to the fold with
    fewest scans so far: 61 scans of 61 subjects give folds of 21, 20 and 20, as in the paper.

    Args:
        samples: the scans; their order does not matter.
        number: how many folds.
        seed: of the shuffle.

    Returns:
        Fold index (0 to number - 1) by scan name, in the order of scan names.

    Raises:
        UserError: there are fewer subjects than folds.
    """
    scans_of: dict[str, list[str]] = {}
    for sample in sorted(samples, key=lambda sample: sample.scan):
        scans_of.setdefault(sample.subject, []).append(sample.scan)
    if len(scans_of) < number:
        raise UserError(
            f"{len(scans_of)} subjects cannot fill {number} folds. "
            "Add scans or lower folds.number in the configuration."
        )
    shuffled = sorted(scans_of)
    random.Random(seed).shuffle(shuffled)
    sizes = [0] * number
    fold_of: dict[str, int] = {}
    for subject in sorted(shuffled, key=lambda subject: -len(scans_of[subject])):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(scans_of[subject])
        fold_of.update(dict.fromkeys(scans_of[subject], fold))
    return dict(sorted(fold_of.items()))
