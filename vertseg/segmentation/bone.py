"""Bone of a scan in a network's outputs, and seeds of the vertebrae in it."""

import math
from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage
from scipy.special import logsumexp

from vertseg.anatomy.boxes import Box
from vertseg.anatomy.labels import BACKGROUND, IDS, NAMES, NUM_CLASSES
from vertseg.segmentation.pieces import SMALLEST_ML
from vertseg.segmentation.spine_model import STEP_MM

MARGIN_CELLS = 3
"""Cells around bone whose logits interpolation may read, and where its centres may lie."""


def _steps_by_label() -> np.ndarray:
    """Expected distance in mm to the neighbours of each label, (NUM_CLASSES,)."""
    beside: dict[int, list[float]] = {label: [] for label in range(NUM_CLASSES)}
    for pair, distance in STEP_MM.items():
        for name in pair:
            if name in IDS:
                beside[IDS[name]].append(distance)
    usual = float(np.mean(list(STEP_MM.values())))
    return np.array([np.mean(values) if values else usual for values in beside.values()])


STEPS = _steps_by_label()


@dataclass(frozen=True)
class Seeds:
    """Centres of instances, cranial first.

    Attributes:
        places_mm: (n, 3) from the middle of the first cell.
        steps_mm: (n,) expected distance to the neighbours.
    """

    places_mm: np.ndarray
    steps_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.places_mm)

    def sorted(self) -> "Seeds":
        """The same seeds, cranial first."""
        order = np.argsort(-self.places_mm[:, 2], kind="stable")
        return Seeds(self.places_mm[order], self.steps_mm[order])

    def chosen(self, which: np.ndarray) -> "Seeds":
        """Some of the seeds."""
        return Seeds(self.places_mm[which], self.steps_mm[which])

    def axis(self, index: int) -> np.ndarray:
        """Unit vector (3,) along the spine at a seed, through its neighbours."""
        upper, lower = max(index - 1, 0), min(index + 1, len(self) - 1)
        way = self.places_mm[upper] - self.places_mm[lower]
        length = float(np.linalg.norm(way))
        return way / length if length else np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Bone:
    """Cells of bone of a scan.

    Attributes:
        box: part of the grid that holds all of them, with a margin.
        mask: bool (X, Y, Z) in the box.
        cells: (n, 3) their indices in the box.
        score: (n,) logarithm of their probability of being a vertebra, up to a constant by cell.
        labels: (n,) the classes of their largest logits among vertebrae.
        cell_mm: (3,) size of a cell.
    """

    box: Box
    mask: np.ndarray
    cells: np.ndarray
    score: np.ndarray
    labels: np.ndarray
    cell_mm: np.ndarray

    @property
    def cell_ml(self) -> float:
        """Volume of a cell."""
        return float(np.prod(self.cell_mm)) / 1000

    @property
    def places_mm(self) -> np.ndarray:
        """Places (n, 3) from the middle of the box's first cell."""
        return self.cells * self.cell_mm

    @property
    def steps_mm(self) -> np.ndarray:
        """Expected distance (n,) to the neighbours of the cells' own classes."""
        return STEPS[self.labels]

    def as_map(self, owner: np.ndarray) -> np.ndarray:
        """Numbers (n,) of the cells as a map (X, Y, Z) of the box, plus 1; 0 elsewhere."""
        filled = np.zeros(self.mask.shape, np.int16)
        filled[self.mask] = owner + 1
        return filled


def find_bone(logits: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray) -> Bone | None:
    """Cells that are more probably a vertebra, whichever, than background.

    Pieces smaller than a vertebra are left out. None without any bone.
    """
    # A sum of probabilities exceeds background's only near cells that prefer a vertebra.
    spots = ndimage.find_objects((label_map > BACKGROUND).astype(np.uint8))
    if not spots or spots[0] is None:
        return None
    box = Box.of(
        [
            slice(max(side.start - MARGIN_CELLS, 0), min(side.stop + MARGIN_CELLS, size))
            for side, size in zip(spots[0], label_map.shape, strict=True)
        ]
    )
    local = logits[(slice(None), *box.slices)]
    vertebrae = sorted(label for label in NAMES if label < len(logits))
    best = local[vertebrae[0]].copy()
    for label in vertebrae[1:]:
        np.maximum(best, local[label], out=best)
    likely = best + math.log(len(vertebrae)) > local[BACKGROUND]
    scores = local[:, likely][vertebrae]
    score = logsumexp(scores, axis=0)
    mask = np.zeros(likely.shape, bool)
    mask[likely] = score > local[BACKGROUND][likely]
    parts = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(parts.ravel())
    large = sizes * np.prod(cell_mm) / 1000 >= SMALLEST_ML
    large[0] = False
    mask &= large[parts]
    if not mask.any():
        return None
    inside = mask[likely]
    labels = np.array(vertebrae)[scores[:, inside].argmax(axis=0)]
    return Bone(box, mask, np.argwhere(mask), score[inside], labels, np.asarray(cell_mm, float))
