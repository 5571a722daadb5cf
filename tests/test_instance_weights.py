"""The count of `studies.instance_weights`, in a case with a known answer."""

import numpy as np
import pytest

from studies.instance_weights import Case, right_in, set_constants
from vertseg.segmentation import borders, instances


def test_a_vertebra_is_right_by_most_of_its_named_cells() -> None:
    reference = np.zeros((10, 10, 40), np.uint8)
    for n, label in enumerate((20, 21, 22, 23)):
        reference[:, :, 36 - 9 * n : 40 - 9 * n] = label
    reference[0, 0, 0] = 24
    labels = reference.copy()
    labels[:6][reference[:6] == 21] = 20
    labels[:4][reference[:4] == 22] = 20
    labels[reference == 23] = 0
    whole = np.array([20, 21, 22, 23, 24])
    case = Case(np.zeros(0), labels, reference, whole, np.full(3, 2.5))
    # Of L5, one cell is in view.
    assert right_in(labels, case).tolist() == [True, False, True, False]


def test_constants_are_set_wherever_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (instances, borders):
        monkeypatch.setattr(module, "VOTE_STEPS", instances.VOTE_STEPS)
    set_constants(["VOTE_STEPS=0.7"])
    assert (instances.VOTE_STEPS, borders.VOTE_STEPS) == (0.7, 0.7)
    for wrong in ("NOTHING=1", "np=1"):
        with pytest.raises(SystemExit, match="no such number"):
            set_constants([wrong])
