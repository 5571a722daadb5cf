"""How probable it is that a spine's vertebrae have the right levels, by more than their order.

The order of labels cannot tell whether each instance is one vertebra: two that were joined, one
that was missed at an end, or a piece of the sacrum fit a plausible order. What the network says of
an instance, whatever its name, does: whether its cells agree on the place of their body's centre,
whether they are surely bone, and whether one class stands out. Logistic formulas combine this with
the probability of the order (docs/decoding.md).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from vertseg.segmentation.pieces import Certainty, Reading

LEAST_DOUBT = 1e-4
"""Distance from 0 and 1 within which probabilities of the order count as alike."""


class Weights(NamedTuple):
    """Log-odds of being right: a constant, and the weights of what they depend on.

    Attributes:
        constant: log-odds where all else is 0.
        order: of the log-odds by the order of labels alone.
        votes: of the distance of votes, in steps.
        bone: of the probability of bone.
        classes: of the largest class's probability.
    """

    constant: float
    order: float
    votes: float
    bone: float
    classes: float

    def probability(self, order: float, reading: Reading) -> float:
        """Probability of being right."""
        return float(expit(np.dot(self, (1.0, *terms_of(order, reading)))))


def terms_of(order: float, reading: Reading) -> tuple[float, float, float, float]:
    """What the log-odds of being right depend on, in the order of `Weights`."""
    inner = float(np.clip(order, LEAST_DOUBT, 1 - LEAST_DOUBT))
    return float(logit(inner)), reading.votes or 0.0, reading.bone, reading.classes


OF_ALL = Weights(-13.05, 0.20, -3.22, 11.40, 7.31)
"""Weights for all levels of a scan together: farthest votes, least bone, mean of classes.

From 460 scans of phantoms that the shipped network did not learn from (`python -m studies.doubt
--fit`). No real scan took part in the fit; what is read was chosen by cross-validation on other
phantoms, with figures of real scans in sight. docs/predict.md says what they are worth.
"""

OF_EACH = Weights(-16.10, 0.26, -3.38, 16.27, 5.36)
"""Weights for the level of each vertebra by itself, from the same scans."""


def summary(readings: Mapping[int, Reading]) -> Reading:
    """What counts of a scan's readings: the farthest votes, the least bone, the mean of classes."""
    of_all = list(readings.values())
    return Reading(
        max(one.votes or 0.0 for one in of_all),
        min(one.bone for one in of_all),
        float(np.mean([one.classes for one in of_all])),
    )


def trusted(
    by_order: Certainty,
    readings: Mapping[int, Reading],
    of_scan: Weights = OF_ALL,
    of_each: Weights = OF_EACH,
) -> Certainty:
    """Probabilities by the order of labels and by what the network says of each vertebra.

    A vertebra is at least as probably right as all of them together are. Where less is left for all
    other answers, shifts by one become less probable in proportion.

    Args:
        by_order: probabilities by the order alone.
        readings: of each vertebra, by label, of a network with votes.
        of_scan: weights for all levels together.
        of_each: weights for each level.
    """
    all_right = of_scan.probability(by_order.all_right, summary(readings))
    left = (1 - all_right) / max(1 - by_order.all_right, LEAST_DOUBT)
    return replace(
        by_order,
        right={
            label: round(max(of_each.probability(value, readings[label]), all_right), 4)
            for label, value in by_order.right.items()
        },
        all_right=round(all_right, 4),
        shifted={down: round(value * min(left, 1), 4) for down, value in by_order.shifted.items()},
    )
