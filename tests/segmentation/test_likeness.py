"""What is like a spine, and what is not."""

import numpy as np
import pytest

from vertseg.segmentation.likeness import why_no_spine

CELL_MM = np.array([2.5, 2.5, 2.5])


def blocks(
    centres_mm: list[tuple[float, float, float]], hu: float, height_mm: float = 250
) -> tuple[np.ndarray, np.ndarray]:
    """A normalised image and a label map with cubes of 20 mm about points."""
    shape = (60, 60, round(height_mm / 2.5))
    image, label_map = np.full(shape, -0.5, np.float16), np.zeros(shape, np.uint8)
    for number, centre in enumerate(centres_mm):
        low = np.rint(np.array(centre) / CELL_MM).astype(int) - 4
        box = tuple(slice(max(start, 0), start + 8) for start in low)
        label_map[box] = 20 + number
        # The window: 300 HU in its middle, 750 HU to each side.
        image[box] = (hu - 300) / 750
    return image, label_map


COLUMN = [(75.0, 75.0, 150.0), (75.0, 80.0, 116.0), (75.0, 80.0, 81.0)]


@pytest.mark.parametrize(
    ("centres_mm", "hu", "height_mm", "reason"),
    [
        (COLUMN, 250, 250, None),
        (COLUMN, 30, 250, "density of 30 HU"),
        (COLUMN, 850, 250, "density of 850 HU"),
        (COLUMN[::2], 250, 250, "no two"),
        ([(40.0, 75.0, 100.0), (75.0, 75.0, 95.0)], 250, 250, "no two"),
        (COLUMN[1:2], 250, 250, "a single vertebra was seen in a scan of 250 mm"),
        ([(75.0, 75.0, 45.0)], 250, 90, None),
        ([(75.0, 75.0, 5.0)], 250, 250, None),
    ],
)
def test_a_spine_is_dense_and_stacked(
    centres_mm: list[tuple[float, float, float]], hu: float, height_mm: float, reason: str | None
) -> None:
    found = why_no_spine(*blocks(centres_mm, hu, height_mm), CELL_MM)
    assert found is None if reason is None else reason in str(found)
