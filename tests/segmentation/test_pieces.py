"""Vertebrae as single pieces of one spine."""

import numpy as np
import pytest

from vertseg.segmentation.pieces import Piece, keep_largest_pieces, labels_of_spine


class TestLargestPieces:
    CELL_MM = np.array([10.0, 10.0, 10.0])

    def scores(self, label_map: np.ndarray, second_best: int) -> np.ndarray:
        logits = np.zeros((6, *label_map.shape), np.float16)
        logits[second_best] = 1
        np.put_along_axis(logits, label_map[None].astype(int), 5, axis=0)
        return logits

    def test_other_pieces_get_their_next_best_label(self) -> None:
        label_map = np.zeros((12, 6, 6), np.uint8)
        label_map[1:4, 1:4, 1:4] = 3
        label_map[8:10, 1:3, 1:3] = 3
        logits = self.scores(label_map, second_best=4)
        pieces = keep_largest_pieces(logits, label_map, self.CELL_MM)
        assert pieces == (Piece(3, 8.0, round(8 / 27, 3), pytest.approx(65.4, abs=0.1)),)
        assert (label_map == 3).sum() == 27
        assert (label_map[8:10, 1:3, 1:3] == 4).all()

    def test_what_is_too_small_goes(self) -> None:
        label_map = np.zeros((6, 6, 6), np.uint8)
        label_map[2, 2, 2] = 5
        logits = self.scores(label_map, second_best=0)
        assert keep_largest_pieces(logits, label_map, self.CELL_MM) == ()
        assert not label_map.any()

    def test_one_piece_stays_as_it_is(self) -> None:
        label_map = np.zeros((6, 6, 6), np.uint8)
        label_map[1:3, 1:3, 1:3] = 2
        logits = self.scores(label_map, second_best=0)
        before = logits.copy(), label_map.copy()
        assert keep_largest_pieces(logits, label_map, self.CELL_MM) == ()
        np.testing.assert_array_equal(logits, before[0])
        np.testing.assert_array_equal(label_map, before[1])


def test_what_lies_apart_is_not_of_the_spine() -> None:
    cell_mm = np.array([5.0, 5.0, 5.0])
    label_map = np.zeros((40, 12, 60), np.uint8)
    for label, z in ((22, 2), (21, 9), (20, 16), (18, 26)):
        label_map[2:8, 2:8, z : z + 5] = label
    label_map[30:34, 2:6, 20:24] = 5
    assert labels_of_spine(label_map, cell_mm) == [18, 20, 21, 22]
    label_map[2:8, 2:8, 45:50] = 8
    # 70 mm from label 18.
    assert labels_of_spine(label_map, cell_mm) == [18, 20, 21, 22]
    assert labels_of_spine(np.zeros_like(label_map), cell_mm) == []
