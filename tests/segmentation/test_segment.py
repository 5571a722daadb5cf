"""A network's view of a scan, and the decoding of its logits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import oracle, trained, volume_of
from torch.nn import functional as F

from vertseg.anatomy.boxes import Box
from vertseg.evaluation.metrics import confusion, multi_label_dice
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.predict.warnings import warnings_about
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation import segment as segmenting
from vertseg.segmentation.grid import AIR
from vertseg.segmentation.model import Model
from vertseg.segmentation.pieces import mean_softmax
from vertseg.segmentation.segment import (
    boxes_to_see,
    is_inside,
    patient_box,
    predict_box,
    segment_ct,
)
from vertseg.segmentation.settings import DECODINGS, Decoding


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(11, preset("demo"))


class TestGridPrediction:
    @pytest.fixture
    def local(self) -> Callable[[np.ndarray], np.ndarray]:
        """A network that sees 11 cells around each cell."""
        weight = torch.randn(5, 1, 11, 11, 11, generator=torch.Generator().manual_seed(0))

        def forward(images: np.ndarray) -> np.ndarray:
            assert not any(size % 4 for size in images.shape[2:4])
            return F.conv3d(torch.from_numpy(images), weight, padding=5)[0].numpy()

        return forward

    @pytest.mark.parametrize("length", [31, 120, 157, 200])
    def test_chunks_change_nothing(self, local, monkeypatch, length: int) -> None:
        image = np.random.default_rng(1).uniform(-1, 1, (8, 12, length)).astype(np.float16)
        model = Model("local", "", "torch", trained([8, 12, 16], num_classes=5), local)
        whole = predict_box(model, image, Box.whole(image.shape))
        monkeypatch.setattr(segmenting, "CHUNK_CELLS", 8 * 12 * 100)
        seen = []

        def watched(images: np.ndarray) -> np.ndarray:
            seen.append(images.shape[-1])
            return local(images)

        chunked = predict_box(
            Model("", "", "torch", model.trained, watched), image, Box.whole(image.shape)
        )
        assert max(seen) <= 100 and (len(seen) > 1) == (length > 100)
        np.testing.assert_allclose(chunked[0], whole[0], rtol=1e-4, atol=1e-3)
        assert (chunked[1] == whole[1]).mean() > 0.999

    def test_what_comes_back(self, local) -> None:
        image = np.random.default_rng(2).uniform(-1, 1, (5, 7, 11)).astype(np.float16)
        model = Model("local", "", "torch", trained([8, 12, 16], num_classes=5), local)
        logits, label_map = predict_box(model, image, Box.whole(image.shape))
        padded = np.full((1, 1, 8, 12, 16), AIR, np.float32)
        padded[0, 0, :5, :7, :11] = image
        scores = local(padded)[:, :5, :7, :11]
        np.testing.assert_allclose(logits, scores, rtol=1e-6)
        np.testing.assert_array_equal(label_map, scores.argmax(0))
        probability = torch.from_numpy(scores).softmax(0).numpy()
        expected = {n: probability[n][label_map == n].mean() for n in np.unique(label_map) if n}
        assert mean_softmax(logits, label_map) == pytest.approx(expected, abs=1e-3)

    def test_only_the_box_is_looked_at(self, local) -> None:
        image = np.random.default_rng(3).uniform(-1, 1, (60, 50, 70)).astype(np.float16)
        seen = []

        def watched(images: np.ndarray) -> np.ndarray:
            seen.append(images)
            return local(images)

        box = Box((16, 2, 26), (48, 46, 66))
        model = Model("", "", "torch", trained([8, 12, 16], num_classes=5), watched)
        logits, label_map = predict_box(model, image, box)
        np.testing.assert_array_equal(seen[0][0, 0], image[box.slices])
        np.testing.assert_array_equal(logits, local(seen[0]))
        assert label_map.any() and label_map.shape == box.shape

    def test_the_middle_of_a_patient_comes_first(self) -> None:
        image = np.full((120, 50, 70), AIR, np.float16)
        image[20:104, 6:42, 30:62] = 0
        image[2:5, 2:5, 2:40] = 0.5
        patient = Box((16, 2, 26), (108, 46, 66))
        strip = Box((46, 2, 26), (78, 46, 66))
        assert boxes_to_see(image, [20, 12, 16]) == [strip, patient]
        assert boxes_to_see(image, [60, 12, 16]) == [patient]
        assert boxes_to_see(image, None) == [Box.whole(image.shape)]

    def test_a_vertebra_at_a_side_of_the_box_may_be_cut(self) -> None:
        label_map = np.zeros((60, 8, 8), np.uint8)
        box = Box((10, 0, 0), (50, 8, 8))
        label_map[14:46, 4, 4] = 3
        assert is_inside(label_map, box)
        for x in (10, 13, 46, 49):
            cut = label_map.copy()
            cut[x, 4, 4] = 3
            assert not is_inside(cut, box)

    @given(
        shape=st.tuples(*[st.integers(1, 40)] * 3),
        least=st.tuples(*[st.integers(1, 30)] * 3),
        corners=st.tuples(*[st.tuples(st.integers(0, 39), st.integers(0, 39))] * 3),
    )
    def test_the_patient_fits_into_the_box(self, shape, least, corners) -> None:
        image = np.full(shape, AIR, np.float16)
        body = tuple(slice(min(c), max(c) + 1) for c in corners)
        image[body] = 0
        box = patient_box(image, least)
        for start, stop, low, n in zip(box.start, box.stop, least, shape, strict=True):
            assert 0 <= start < stop <= n and stop - start >= min(low, n)
        # Of a patient thinner than two cells nothing may have been seen.
        if all(min(part.stop, n) - part.start >= 2 for part, n in zip(body, shape, strict=True)):
            outside = image.copy()
            outside[box.slices] = AIR
            assert (outside == AIR).all()

    def test_no_cell_prefers_sacrum_or_coccyx(self) -> None:
        scores = np.random.default_rng(0).normal(size=(29, 8, 12, 16)).astype(np.float32)
        expected = scores[[*range(26), 28]].argmax(axis=0)
        expected[expected == 26] = 28
        image = np.zeros((8, 12, 16), np.float16)
        model = Model("", "", "torch", trained(), lambda _: scores.copy())
        logits, label_map = predict_box(model, image, Box.whole(image.shape))
        np.testing.assert_array_equal(label_map, expected)
        np.testing.assert_array_equal(logits.argmax(axis=0), expected)


@pytest.mark.parametrize(("shift_mm", "times"), [(0, 1), (45, 2), (100, 2)])
def test_a_spine_away_from_the_middle_is_found(
    phantom: Phantom, monkeypatch, shift_mm: int, times: int
) -> None:
    room, shift = (round(mm / phantom.affine[0, 0]) for mm in (130, shift_mm))
    sides = (room + shift, room - shift), (0, 0), (0, 0)
    ct, mask = (np.pad(array, sides) for array in (phantom.ct, phantom.mask))
    volume = Volume(ct, phantom.affine, Geometry(ct.shape, phantom.affine))
    model = oracle(replace(phantom, ct=ct, mask=mask))
    seen = []

    def look(model: Model, image: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
        logits = model.forward(image[None, None])[(slice(None), *box.slices)].copy()
        seen.append(box)
        return logits, logits.argmax(axis=0).astype(np.uint8)

    monkeypatch.setattr(segmenting, "predict_box", look)
    model = replace(model, trained=trained([30, 12, 16]))
    found = segment_ct(model, volume, "spine")
    assert len(seen) == times
    assert set(found.spine.confidence) == set(phantom.centroids_mm)
    assert multi_label_dice(confusion(mask, found.mask)) > 0.75


def test_a_network_that_is_sure_of_nothing_finds_nothing(phantom: Phantom) -> None:
    sure = oracle(phantom)

    def forward(images: np.ndarray) -> np.ndarray:
        return sure.forward(images) * 0.4

    model = Model("", "", "torch", sure.trained, forward)
    found = segment_ct(model, volume_of(phantom), "spine")
    assert not found.mask.any() and not found.spine.confidence
    assert set(found.spine.dismissed) == set(phantom.centroids_mm)
    (warning,) = warnings_about(volume_of(phantom), found.spine, {}, trained())
    assert warning.code == "no_vertebra" and "48 %" in warning.message
    as_it_is = segment_ct(model, volume_of(phantom), "argmax")
    assert set(as_it_is.spine.confidence) == set(phantom.centroids_mm)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_segmenting_keeps_what_the_network_knows(phantom: Phantom, decoding: Decoding) -> None:
    found = segment_ct(oracle(phantom), volume_of(phantom), decoding)
    assert set(found.spine.confidence) == set(phantom.centroids_mm)
    assert multi_label_dice(confusion(phantom.mask, found.mask)) > 0.75


def test_two_vertebrae_that_were_mixed_up_are_put_in_order(phantom: Phantom) -> None:
    sure = oracle(phantom)
    a, b = list(phantom.centroids_mm)[2:4]

    def forward(images: np.ndarray) -> np.ndarray:
        logits = sure.forward(images)
        logits[[a, b]] = logits[[b, a]]
        return logits

    model = Model("", "", "torch", sure.trained, forward)
    mixed_up = segment_ct(model, volume_of(phantom), "spine")
    assert not mixed_up.spine.changes
    mended = segment_ct(model, volume_of(phantom), "order")
    assert {(one.before, one.after) for one in mended.spine.changes} == {(a, b), (b, a)}
    assert set(mended.spine.confidence) == set(phantom.centroids_mm)
    overlap = [multi_label_dice(confusion(phantom.mask, one.mask)) for one in (mixed_up, mended)]
    assert overlap[1] > overlap[0] + 0.1 and overlap[1] > 0.75
