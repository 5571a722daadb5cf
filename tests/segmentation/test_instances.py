"""Instances on synthetic outputs: touching vertebrae, missed seeds, necks, mixed labels."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, IDS, NUM_CLASSES, SACRUM
from vertseg.networks.metadata import OFFSET_CELLS
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.bone import Bone, Seeds
from vertseg.segmentation.borders import by_votes_and_names
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.grid import GridTransform
from vertseg.segmentation.naming import name_instances
from vertseg.segmentation.pieces import Spine
from vertseg.segmentation.spine_model import STEP_MM

CELL = np.full(3, 2.5)
SURE_LOGIT = 6.0
BOTH = ("centres", "offsets")


class Outputs:
    """A network's outputs of a column of boxes, each a vertebra, with a process behind.

    Args:
        names: vertebrae, cranial first.
        gap: cells of background between neighbours.
        called: names that the classes give to vertebrae, where they differ.
        mixed: vertebrae whose upper half has the class of the vertebra above.
        missed: vertebrae without a peak, whose cells vote for the vertebra above.
        without: vertebrae without a peak, whose cells vote for themselves.
    """

    def __init__(
        self,
        names: Sequence[str],
        gap: int = 0,
        called: Mapping[str, str] | None = None,
        mixed: Sequence[str] = (),
        missed: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        steps = [round(STEP_MM[pair] / CELL[2]) for pair in itertools.pairwise(names)]
        steps.append(steps[-1])
        size = (28, 36, sum(steps) + 12)
        self.truth = np.zeros(size, np.uint8)
        shown = np.zeros(size, np.uint8)
        self.auxiliary = {
            "centres": np.full((1, *size), -6.0, np.float32),
            "offsets": np.zeros((3, *size), np.float32),
        }
        places = np.stack(np.indices(size))
        top = size[2] - 6
        above: np.ndarray | None = None
        upper = names[0]
        for name, step in zip(names, steps, strict=True):
            height = step - gap
            half = max(height // 2, 3)
            own = np.zeros(size, bool)
            own[14 - half : 14 + half, 20 - half : 20 + half, top - height : top] = True
            own[13:15, 6 : 20 - half, top - height : top - height + 3] = True
            centre = np.array([13.5, 19.5, top - height / 2 - 0.5])
            self.truth[own] = IDS[name]
            shown[own] = IDS[(called or {}).get(name, name)]
            if name in mixed:
                high = own & (places[2] >= centre[2])
                shown[high] = IDS[upper]
            target = above if name in missed and above is not None else centre
            offsets = (target[:, None, None, None] - places) / OFFSET_CELLS
            self.auxiliary["offsets"][:, own] = offsets[:, own]
            if name not in (*missed, *without):
                squared = ((places - centre[:, None, None, None]) ** 2).sum(axis=0)
                peak = 8 * np.exp(-squared / (2 * (0.25 * step) ** 2)) - 4
                np.maximum(self.auxiliary["centres"][0], peak, out=self.auxiliary["centres"][0])
            above, upper = centre, name
            top -= step
        self.logits = np.zeros((NUM_CLASSES, *size), np.float32)
        self.logits[[SACRUM, 27]] = -1000
        np.put_along_axis(self.logits, shown[None].astype(int), SURE_LOGIT, axis=0)
        self.label_map = shown

    def merge(self, above: str, upper: str, lower: str, below: str) -> None:
        """One peak for two vertebrae, whose outer halves vote for the neighbours."""
        names = (above, upper, lower, below)
        cells = {name: np.argwhere(self.truth == IDS[name]) for name in names}
        centres = {name: own.mean(axis=0) for name, own in cells.items()}
        middle = (centres[upper] + centres[lower]) / 2
        for name, beyond in ((upper, above), (lower, below)):
            own = cells[name]
            inner = np.abs(own - middle)[:, 2] < abs(centres[name] - middle)[2]
            targets = np.where(inner[:, None], middle, centres[beyond])
            self.auxiliary["offsets"][:, *own.T] = (targets - own).T / OFFSET_CELLS
            self.auxiliary["centres"][0, *own.T] = -6
        around = np.stack(np.indices(self.truth.shape)).reshape(3, -1).T
        peak = 4 - np.linalg.norm(around - middle, axis=1)
        values = self.auxiliary["centres"].reshape(-1)
        np.maximum(values, peak, out=values)

    def decoded(self, kinds: Sequence[str] = BOTH, sacrum: bool = False) -> Spine | None:
        """The spine found; logits and label map are changed."""
        auxiliary = {kind: self.auxiliary[kind] for kind in kinds}
        return name_instances(self.logits, self.label_map, auxiliary, CELL, sacrum)

    def agreement(self) -> float:
        """Share of the vertebrae's cells with their right label."""
        inside = self.truth > 0
        return float(np.mean(self.label_map[inside] == self.truth[inside]))


LUMBAR = ("T11", "T12", "L1", "L2", "L3", "L4")
NECK = ("C3", "C4", "C5", "C6", "C7", "T1", "T2")


@pytest.mark.parametrize("names", [LUMBAR, NECK])
@pytest.mark.parametrize("kinds", [BOTH, ("offsets",), ("centres",)])
@pytest.mark.parametrize("gap", [0, 2])
def test_touching_vertebrae_are_told_apart(
    names: Sequence[str], kinds: Sequence[str], gap: int
) -> None:
    outputs = Outputs(names, gap)
    spine = outputs.decoded(kinds)
    assert spine is not None and list(spine.confidence) == [IDS[name] for name in names]
    assert spine.changes == () and spine.resolved == pytest.approx(1, abs=0.1)
    least = 0.93 if kinds == ("centres",) else 1.0
    assert outputs.agreement() >= least
    for reading in spine.readings.values():
        assert reading.bone > 0.99 and reading.classes > 0.75
        # All cells vote for their body's centre, to the nearest half cell.
        assert reading.votes is None if kinds == ("centres",) else reading.votes < 0.15
    assert spine.by_order is not None and spine.certainty is not None
    assert (spine.certainty == spine.by_order) == (kinds == ("centres",))


@pytest.mark.parametrize("kinds", [BOTH, ("offsets",)])
def test_a_vertebra_gets_one_label_whatever_its_cells_are_called(kinds: Sequence[str]) -> None:
    outputs = Outputs(LUMBAR, mixed=["L1", "L2"])
    assert outputs.agreement() < 0.9
    assert outputs.decoded(kinds) is not None
    assert outputs.agreement() == 1


def test_two_bodies_with_one_class_get_two_names() -> None:
    outputs = Outputs(LUMBAR, called={"L3": "L2"})
    spine = outputs.decoded()
    assert spine is not None and outputs.agreement() == 1
    [change] = spine.changes
    assert (change.before, change.after) == (IDS["L2"], IDS["L3"])
    # The classes speak against its name, not against its being a vertebra.
    assert spine.confidence[IDS["L3"]] < 0.1 < 0.9 < spine.outline_confidence[IDS["L3"]]


def test_a_missed_seed_lets_no_label_cover_two_bodies() -> None:
    outputs = Outputs(LUMBAR, missed=["L2"])
    assert outputs.decoded() is not None
    assert outputs.agreement() > 0.95


def test_votes_that_disagree_are_doubted() -> None:
    clear = Outputs(LUMBAR).decoded()
    outputs = Outputs(LUMBAR)
    # The cells of L2 vote half a step further down; those of others for their own bodies.
    own = outputs.truth == IDS["L2"]
    outputs.auxiliary["offsets"][2, own] -= 6 / OFFSET_CELLS
    apart = outputs.decoded()
    assert clear is not None and apart is not None
    assert list(apart.confidence) == list(clear.confidence)
    votes = {label: reading.votes for label, reading in apart.readings.items()}
    assert max(votes, key=lambda label: votes[label] or 0) == IDS["L2"]
    assert apart.certainty is not None and clear.certainty is not None
    assert apart.certainty.all_right < clear.certainty.all_right
    assert apart.by_order is not None and apart.by_order.all_right > 0.9


def test_two_vertebrae_in_one_instance_are_divided() -> None:
    """Neighbours take their outer halves: neither gap nor length alone says that one is missed."""
    names = ("T1", "T2", "T3", "T4", "T5", "T6", "T7")
    outputs = Outputs(names)
    outputs.merge("T2", "T3", "T4", "T5")
    spine = outputs.decoded()
    assert spine is not None and list(spine.confidence) == [IDS[name] for name in names]
    assert outputs.agreement() > 0.95


def test_votes_find_a_vertebra_without_a_peak() -> None:
    outputs = Outputs(NECK, without=["C5"])
    assert outputs.decoded() is not None
    assert outputs.agreement() == 1


def test_without_votes_a_gap_between_peaks_is_filled() -> None:
    outputs = Outputs(LUMBAR, without=["L1"])
    assert outputs.decoded(["centres"]) is not None
    assert outputs.agreement() > 0.9


def test_votes_into_nowhere_are_not_trusted() -> None:
    outputs = Outputs(LUMBAR)
    before = outputs.logits.copy(), outputs.label_map.copy()
    outputs.auxiliary["centres"][:] = -6
    outputs.auxiliary["offsets"] = np.random.default_rng(0).normal(
        0, 20, outputs.auxiliary["offsets"].shape
    )
    assert outputs.decoded() is None
    np.testing.assert_array_equal(outputs.logits, before[0])
    np.testing.assert_array_equal(outputs.label_map, before[1])


def test_no_bone_is_no_spine() -> None:
    outputs = Outputs(LUMBAR)
    outputs.logits[1:] = -9
    outputs.label_map[:] = BACKGROUND
    spine = outputs.decoded()
    assert spine is not None and not spine.confidence


def test_a_learned_sacrum_names_the_last_vertebra() -> None:
    """Classes that call the spine one level too high give way to a sacrum below L5."""
    names = ("L1", "L2", "L3", "L4", "L5")
    shifted = dict(zip(names, ("T12", "L1", "L2", "L3", "L4"), strict=True))
    outputs = Outputs(names, called=shifted)
    for name, label in shifted.items():
        # The right class is the second best of each vertebra.
        own = outputs.truth == IDS[name]
        outputs.logits[IDS[name], own] = SURE_LOGIT - 0.3
        assert (outputs.label_map[own] == IDS[label]).all()
    bottom = int(np.argwhere(outputs.truth == IDS["L5"])[:, 2].min())
    below = (slice(6, 22), slice(12, 28), slice(max(bottom - 5, 0), bottom))
    outputs.logits[SACRUM][below] = SURE_LOGIT
    outputs.logits[BACKGROUND][below] = SURE_LOGIT + 0.01
    spine = outputs.decoded(sacrum=True)
    assert spine is not None
    assert list(spine.confidence) == [IDS[name] for name in names]


def test_atlas_and_axis_are_told_apart_by_their_classes() -> None:
    """Both vote for C2's centre, as C1 has no body of its own."""
    outputs = Outputs(["C1", "C2", "C3", "C4"])
    own = np.argwhere(outputs.truth == IDS["C1"])
    axis = np.argwhere(outputs.truth == IDS["C2"]).mean(axis=0)
    outputs.auxiliary["offsets"][:, *own.T] = (axis - own).T / OFFSET_CELLS
    outputs.auxiliary["centres"][0, *own.T] = -SURE_LOGIT
    assert outputs.decoded() is not None
    np.testing.assert_array_equal(outputs.label_map, outputs.truth)


def test_the_axis_class_elsewhere_moves_nothing() -> None:
    """Most cells of the lowest vertebra are called C2, as those of a sacrum may be."""
    outputs = Outputs(["C1", "C2", "C3", "C4"])
    lowest = np.argwhere(outputs.truth == IDS["C4"])
    low = lowest[lowest[:, 2] < lowest[:, 2].mean() + 1]
    outputs.logits[IDS["C4"], *low.T] = 0
    outputs.logits[IDS["C2"], *low.T] = SURE_LOGIT
    outputs.label_map[:] = outputs.logits.argmax(axis=0)
    assert outputs.decoded() is not None
    np.testing.assert_array_equal(outputs.label_map, outputs.truth)


def test_a_piece_of_a_sacrum_is_no_vertebra() -> None:
    """What lies below L5 has the class of L6, but hardly more so than that of background."""
    outputs = Outputs(["L2", "L3", "L4", "L5", "L6"])
    sacrum = outputs.truth == IDS["L6"]
    outputs.logits[:, sacrum] = -SURE_LOGIT
    outputs.logits[IDS["L6"], sacrum] = 0.7
    outputs.logits[BACKGROUND, sacrum] = 0.0
    outputs.label_map[:] = outputs.logits.argmax(axis=0)
    spine = outputs.decoded(sacrum=True)
    assert spine is not None
    assert list(spine.confidence) == [IDS[name] for name in ("L2", "L3", "L4", "L5")]


@pytest.mark.parametrize(
    ("called", "moved"),
    [(None, True), ({"L1": "T12", "L2": "L1"}, True), ({"L2": "L1"}, False)],
    ids=["by their names", "a level too high", "alike"],
)
def test_classes_draw_borders_where_they_tell_instances_apart(
    called: dict[str, str] | None, moved: bool
) -> None:
    """The lowest cells of L1 vote for a place between L1 and L2, nearer to L2."""
    outputs = Outputs(LUMBAR, called=called)
    own = np.argwhere(outputs.truth == IDS["L1"])
    low = own[own[:, 2] < own[:, 2].min() + 3]
    other = np.argwhere(outputs.truth == IDS["L2"]).mean(axis=0)[2]
    middle = 0.45 * own[:, 2].mean() + 0.55 * other
    outputs.auxiliary["offsets"][2, *low.T] = (middle - low[:, 2]) / OFFSET_CELLS
    assert outputs.decoded(["offsets"]) is not None
    assert np.mean(outputs.label_map[tuple(low.T)] == IDS["L1"]) == (1.0 if moved else 0.0)


def test_new_borders_leave_no_vertebra_without_cells() -> None:
    """All cells vote for the upper one and have its class; the lower one keeps its own."""
    cells = np.argwhere(np.ones((8, 8, 16), bool))
    shape = (8, 8, 16)
    box = Box.of([slice(0, size) for size in shape])
    upper, lower = IDS["T4"], IDS["T5"]
    labels = np.full(len(cells), upper)
    bone = Bone(box, np.ones(shape, bool), cells, np.zeros(len(cells)), labels, CELL)
    seeds = Seeds(np.array([[8.75, 8.75, 28.75], [8.75, 8.75, 8.75]]), np.full(2, 20.0))
    owner = (cells[:, 2] < 8).astype(int)
    votes = np.broadcast_to(seeds.places_mm[0], (len(cells), 3))
    scores = np.full((NUM_CLASSES, len(cells)), -9.0, np.float32)
    scores[upper] = -0.01
    names = np.array([upper, lower])
    kept = by_votes_and_names(bone, seeds, owner, votes, names, scores)
    np.testing.assert_array_equal(kept, owner)


def test_the_mask_follows_the_instances_on_finer_voxels() -> None:
    outputs = Outputs(LUMBAR, mixed=["L1", "L2"])
    shape = tuple(2 * n for n in outputs.truth.shape)
    native = Geometry(shape, np.diag([1.25, 1.25, 1.25, 1]))
    assert outputs.decoded() is not None
    mask = decode_logits(
        outputs.logits, outputs.label_map, GridTransform(outputs.truth.shape, native)
    )
    fine = outputs.truth.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert np.mean(mask[fine > 0] == fine[fine > 0]) > 0.97
    assert np.mean(mask[fine == 0] == 0) > 0.99


def test_bone_of_a_second_spine_beside_the_first_is_measured() -> None:
    names = ["T12", "L1", "L2", "L3", "L4"]
    one, other = Outputs(names), Outputs(names)
    truth = int((one.truth > 0).sum())
    assert one.decoded().beside_ml == 0
    one = Outputs(names)
    empty = Outputs(names)
    empty.logits[:] = 0
    empty.logits[BACKGROUND] = SURE_LOGIT
    empty.logits[[SACRUM, 27]] = -1000
    empty.label_map[:] = BACKGROUND
    empty.auxiliary["centres"][:], empty.auxiliary["offsets"][:] = -6, 0
    parts = (one, empty, other)
    logits = np.concatenate([part.logits for part in parts], axis=1)
    label_map = np.concatenate([part.label_map for part in parts])
    auxiliary = {
        kind: np.concatenate([part.auxiliary[kind] for part in parts], axis=1) for kind in BOTH
    }
    spine = name_instances(logits, label_map, auxiliary, CELL, False)
    assert [*spine.confidence] == [IDS[name] for name in names]
    assert spine.beside_ml == pytest.approx(truth * np.prod(CELL) / 1000, rel=0.01)
    columns = np.argwhere(label_map > 0)[:, 0]
    assert np.ptp(columns) < 28
