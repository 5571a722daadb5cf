"""Likeness of labelled cells to a spine: bodies of bone's density, stacked as vertebrae are.

A network that was trained on spines names something in many a limb or head. The rules look at what
was labelled, not at the network's probabilities, so that they hold for any network.
"""

import numpy as np

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import BACKGROUND
from vertseg.segmentation.grid import hounsfield

DENSITY_HU = (100.0, 700.0)
"""Mean density of all vertebrae with their processes: fat and muscle lie below, the shafts of long
bones above.

Ten limbs had -100 to 70 and 370 to 850 HU where the network saw vertebrae, seven real spines and
the phantoms 190 to 450 HU (docs/decoding.md).
"""

STACKED_MM = (8.0, 46.0)
"""Distance between the body centres of two neighbours, cut ones included."""

STEEPEST = 0.5
"""Smallest share of that distance that lies along the patient's length."""

LONGEST_WITH_ONE_MM = 100.0
"""Height of the patient in the scan up to which one vertebra alone is plausible."""


def why_no_spine(image: np.ndarray, label_map: np.ndarray, cell_mm: np.ndarray) -> str | None:
    """Reason in plain words for which labelled cells are not a spine; None if they may be one.

    A spine has the density of bone, and two of its vertebrae lie on top of each other at a
    plausible distance. One vertebra alone is plausible in a short scan, or at its upper or lower
    end.

    Args:
        image: normalised (X, Y, Z).
        label_map: (X, Y, Z), not empty.
        cell_mm: size of a cell along x, y and z.
    """
    labelled = label_map != BACKGROUND
    density = float(hounsfield(image[labelled].astype(np.float32)).mean())
    if not DENSITY_HU[0] <= density <= DENSITY_HU[1]:
        return f"what was labelled has a mean density of {density:.0f} HU, unlike vertebrae"
    centres = np.array(list(body_centres(label_map, np.diag([*cell_mm, 1.0])).values()))
    steps = np.diff(centres[np.argsort(-centres[:, 2])], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    is_stacked = (lengths >= STACKED_MM[0]) & (lengths <= STACKED_MM[1])
    if np.any(is_stacked & (-steps[:, 2] >= STEEPEST * lengths)):
        return None
    if len(centres) > 1:
        return "no two of the labelled parts lie on top of each other as vertebrae do"
    height_mm = label_map.shape[2] * float(cell_mm[2])
    if height_mm <= LONGEST_WITH_ONE_MM or labelled[:, :, [0, -1]].any():
        return None
    return f"a single vertebra was seen in a scan of {height_mm:.0f} mm"
