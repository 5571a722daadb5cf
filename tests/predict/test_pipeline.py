"""From a CT file to everything `vertseg predict` writes, with networks whose answer is known."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from vertseg import cli
from vertseg.anatomy.centroids import Centres, body_centres
from vertseg.anatomy.labels import IDS
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.evaluation.metrics import confusion, multi_label_dice
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.predict import pipeline
from vertseg.predict.pipeline import Options, predict_scan
from vertseg.predict.result import read_result
from vertseg.predict.warnings import Doubt, doubts_about
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import measure_vertebrae
from vertseg.segmentation import segment as segmenting
from vertseg.segmentation.grid import AIR, GridTransform, grid_shape
from vertseg.segmentation.model import Model
from vertseg.segmentation.pieces import (
    Change,
    Piece,
    Spine,
    keep_largest_pieces,
    labels_of_spine,
    mean_softmax,
)
from vertseg.segmentation.segment import (
    Box,
    boxes_to_see,
    is_inside,
    patient_box,
    predict_box,
    segment,
)

SPACING_MM = 3.0
RANGE = {"spacing_mm": [[0.8, 0.8, 1.5], [1.5, 1.5, 3.0]],
         "extent_mm": [[80, 90, 150], [420, 420, 900]]}  # fmt: skip


def trained(crop: list[int] | None = None, num_classes: int = 29) -> dict:
    return {
        "settings": {"grid": {"spacing_mm": SPACING_MM}, "crop": crop},
        "num_classes": num_classes,
        "training_range": RANGE,
    }


def oracle(phantom: Phantom) -> Model:
    """A network that knows the phantom."""
    native = Geometry(phantom.ct.shape, phantom.affine)
    shape = grid_shape({"spacing_mm": SPACING_MM}, native)
    label = torch.from_numpy(GridTransform(shape, native).encode_labels(phantom.mask))

    def forward(images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 1, *shape)
        return (8 * F.one_hot(label.long(), 29).movedim(-1, 0).float()).numpy()

    return Model("oracle", "0" * 64, "torch", trained(), forward)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(11, preset("demo"))


@pytest.fixture(scope="module")
def scan(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as a user's file, its axes in another order."""
    path = tmp_path_factory.mktemp("scans") / "patient_ct.nii.gz"
    image = nib.Nifti1Image(phantom.ct, phantom.affine)
    wanted = nib.orientations.axcodes2ornt("PIR")
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), wanted)), path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def output(scan: Path, phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    predict_scan(scan, "patient", oracle(phantom), Options(folder))
    return folder


class TestOutputs:
    def test_the_label_map_lies_on_the_scans_grid(self, output, scan, phantom) -> None:
        image = nib.load(output / "patient_seg-vert_msk.nii.gz")
        ct = nib.load(scan)
        assert image.shape == ct.shape and image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, ct.affine, atol=1e-5)
        assert image.header["descrip"].item().decode() == RESEARCH_USE_ONLY
        native = load_ct(scan).native
        mask = load_mask(output / "patient_seg-vert_msk.nii.gz", native).array
        assert multi_label_dice(confusion(phantom.mask, mask)) > 0.75

    def test_centroids_read_by_verses_loader_are_near_the_truth(self, output, phantom) -> None:
        # The loop of load_centroids in VerSe's utils/data_utilities.py.
        content = json.loads((output / "patient_seg-vert_ctd.json").read_text())
        points = []
        for entry in content:
            if "direction" in entry:
                points.append(tuple(entry["direction"]))
            elif "nan" in str(entry):
                continue
            else:
                points.append([entry["label"], entry["X"], entry["Y"], entry["Z"]])
        assert points[0] == ("P", "I", "R")
        affine = nib.load(output / "patient_seg-vert_msk.nii.gz").affine
        assert {int(label) for label, *_ in points[1:]} == set(phantom.centroids_mm)
        for label, *voxel in points[1:]:
            distance = nib.affines.apply_affine(affine, voxel) - phantom.centroids_mm[label]
            assert np.linalg.norm(distance) < 12

    def test_result_table_and_pictures_agree(self, output, scan, phantom) -> None:
        result = read_result(output / "patient_result.json")
        names = [vertebra["name"] for vertebra in result.vertebrae]
        assert names == phantom.truth["levels"]
        assert all(vertebra["confidence"] > 0.9 for vertebra in result.vertebrae)
        assert result.source == str(scan) and result.model["name"] == "oracle"
        assert result.geometry["orientation"] == "PIR"
        rows = list(csv.DictReader((output / "patient_measures.csv").open()))
        assert [row["name"] for row in rows] == names
        assert {row["notice"] for row in rows} == {RESEARCH_USE_ONLY}
        for row, vertebra in zip(rows, result.vertebrae, strict=True):
            assert row["trabecular_hu"] == (
                "" if vertebra["trabecular_hu"] is None else str(vertebra["trabecular_hu"])
            )
        assert result.preview and result.viewer
        assert set(result.outputs.values()) | {"patient_result.json"} == {
            path.name for path in output.iterdir()
        }

    def test_earlier_outputs_are_replaced_by_force_alone(self, output, scan, phantom) -> None:
        before = (output / "patient_result.json").read_bytes()
        with pytest.raises(Exception, match=r"exists already.*--force"):
            predict_scan(scan, "patient", oracle(phantom), Options(output))
        assert (output / "patient_result.json").read_bytes() == before
        predict_scan(scan, "patient", oracle(phantom), Options(output, force=True))
        assert read_result(output / "patient_result.json").error is None

    def test_a_failure_leaves_no_partial_files(self, tmp_path, scan, phantom, monkeypatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pipeline, "_write_measures", fail)
        with pytest.raises(Exception, match="No space left"):
            predict_scan(scan, "patient", oracle(phantom), Options(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_a_scan_without_vertebrae(self, tmp_path, scan, phantom) -> None:
        blind = oracle(phantom)

        def forward(images: np.ndarray) -> np.ndarray:
            scores = np.zeros((29, *images.shape[2:]), np.float32)
            scores[0] = 5
            return scores

        model = Model(blind.name, blind.sha256, "torch", blind.trained, forward)
        result = read_result(predict_scan(scan, "patient", model, Options(tmp_path)))
        assert [warning["code"] for warning in result.warnings] == ["no_vertebra"]
        assert not np.asanyarray(nib.load(tmp_path / "patient_seg-vert_msk.nii.gz").dataobj).any()
        assert not result.vertebrae and result.preview


class TestCommand:
    @pytest.fixture(autouse=True)
    def known_answer(self, monkeypatch: pytest.MonkeyPatch, phantom: Phantom) -> None:
        monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: oracle(phantom))

    def test_bad_scans_do_not_stop_the_others(self, tmp_path, scan, capsys) -> None:
        flat = tmp_path / "flat.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((40, 40, 1), np.int16), np.eye(4)), flat)
        missing = tmp_path / "missing.nii.gz"
        folder = tmp_path / "out"
        status = cli.main(["predict", str(flat), str(scan), str(missing), "--output", str(folder)])
        assert status == 1
        said = capsys.readouterr().err
        assert f"{missing}: no such file" in said and str(flat) in said
        assert (folder / "patient_result.json").exists()
        assert [path.name for path in folder.glob("flat_*")] == ["flat_failed.json"]
        page = (folder / "report.html").read_text()
        assert "no such file" in page and "patient" in page

    def test_outputs_that_exist_are_an_error(self, tmp_path, scan) -> None:
        arguments = ["predict", str(scan), "--output", str(tmp_path), "--no-report"]
        assert cli.main(arguments) == 0
        assert not (tmp_path / "report.html").exists()
        assert not list(tmp_path.glob("*viewer*"))
        assert cli.main(arguments) == 1
        assert cli.main([*arguments, "--force"]) == 0
        assert not list(tmp_path.glob("*_failed.json"))

    def test_an_output_that_is_no_folder(self, tmp_path, scan, capsys) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        assert cli.main(["predict", str(scan), "--output", str(blocked / "below")]) == 2
        assert "cannot be written to" in capsys.readouterr().err


def everywhere(image: np.ndarray) -> Box:
    x, y, z = (slice(0, n) for n in image.shape)
    return x, y, z


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
        whole = predict_box(model, image, everywhere(image))
        monkeypatch.setattr(segmenting, "CHUNK_CELLS", 8 * 12 * 100)
        seen = []

        def watched(images: np.ndarray) -> np.ndarray:
            seen.append(images.shape[-1])
            return local(images)

        chunked = predict_box(
            Model("", "", "torch", model.trained, watched), image, everywhere(image)
        )
        assert max(seen) <= 100 and (len(seen) > 1) == (length > 100)
        np.testing.assert_allclose(chunked[0], whole[0], rtol=1e-4, atol=1e-3)
        assert (chunked[1] == whole[1]).mean() > 0.999

    def test_what_comes_back(self, local) -> None:
        image = np.random.default_rng(2).uniform(-1, 1, (5, 7, 11)).astype(np.float16)
        model = Model("local", "", "torch", trained([8, 12, 16], num_classes=5), local)
        logits, label_map = predict_box(model, image, everywhere(image))
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

        box = slice(16, 48), slice(2, 46), slice(26, 66)
        model = Model("", "", "torch", trained([8, 12, 16], num_classes=5), watched)
        logits, label_map = predict_box(model, image, box)
        np.testing.assert_array_equal(seen[0][0, 0], image[box])
        np.testing.assert_array_equal(logits[:, *box], local(seen[0]))
        outside = np.ones(image.shape, bool)
        outside[box] = False
        assert label_map.any() and not label_map[outside].any() and not logits[:, outside].any()

    def test_the_middle_of_a_patient_comes_first(self) -> None:
        image = np.full((120, 50, 70), AIR, np.float16)
        image[20:104, 6:42, 30:62] = 0
        image[2:5, 2:5, 2:40] = 0.5
        patient = slice(16, 108), slice(2, 46), slice(26, 66)
        strip = slice(46, 78), slice(2, 46), slice(26, 66)
        assert boxes_to_see(image, [20, 12, 16]) == [strip, patient]
        assert boxes_to_see(image, [60, 12, 16]) == [patient]
        assert boxes_to_see(image, None) == [everywhere(image)]

    def test_a_vertebra_at_a_side_of_the_box_may_be_cut(self) -> None:
        label_map = np.zeros((60, 8, 8), np.uint8)
        box = slice(10, 50), slice(0, 8), slice(0, 8)
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
        for one, low, n in zip(box, least, shape, strict=True):
            start, stop, _ = one.indices(n)
            assert 0 <= start < stop <= n and stop - start >= min(low, n)
        # Of a patient thinner than two cells nothing may have been seen.
        if all(min(part.stop, n) - part.start >= 2 for part, n in zip(body, shape, strict=True)):
            outside = image.copy()
            outside[box] = AIR
            assert (outside == AIR).all()


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


def doubts_about_changes(changes: tuple[Change, ...]) -> list[Doubt]:
    affine = np.eye(4)
    ct = Volume(np.zeros((100, 100, 200), np.int16), affine, Geometry((100, 100, 200), affine))
    centres: Centres = {IDS["T12"]: np.array([50.0, 50.0, 100.0])}
    return doubts_about(ct, Spine({IDS["T12"]: 0.9}, changes=changes), centres, {})


class TestDoubts:
    def codes(
        self,
        heights_mm: dict[str, float],
        confidence: float = 0.9,
        pieces: tuple[Piece, ...] = (),
        spacing_mm: float = 1.0,
        shape: tuple[int, int, int] = (200, 200, 400),
    ) -> list[tuple[str, tuple[str, ...]]]:
        # A spine that leans backwards.
        centres: Centres = {
            IDS[name]: np.array([3.0, -0.3 * z, z]) for name, z in heights_mm.items()
        }
        affine = np.diag([spacing_mm] * 3 + [1.0])
        ct = Volume(np.broadcast_to(np.int16(0), shape), affine, Geometry(shape, affine))
        spine = Spine(dict.fromkeys(centres, confidence), pieces)
        names = {label: name for name, label in IDS.items()}
        return [
            (doubt.code, tuple(names[label] for label in doubt.labels))
            for doubt in doubts_about(ct, spine, centres, trained())
        ]

    GOOD = {"T11": 120, "T12": 90, "L1": 60, "L2": 30, "L3": 0}  # noqa: RUF012

    def test_a_good_spine_raises_none(self) -> None:
        assert self.codes(self.GOOD) == []
        assert self.codes({"T12": 90, "T13": 62, "L1": 31, "L5": -100, "L6": -130}) == [
            ("gap", ("L1", "L5"))
        ]

    def test_swapped_labels(self) -> None:
        swapped = self.GOOD | {"T12": 60, "L1": 90}
        assert ("out_of_order", ("T12", "L1")) in self.codes(swapped)

    def test_a_missing_level_and_a_missed_vertebra(self) -> None:
        missing = {name: z for name, z in self.GOOD.items() if name != "L1"}
        assert self.codes(missing) == [("gap", ("T12", "L2"))]
        missed = self.GOOD | {"T11": 150, "T12": 120}
        assert self.codes(missed) == [("gap", ("T12", "L1"))]

    def test_second_pieces(self) -> None:
        near_crumb = Piece(20, 0.4, 0.02, 25.0)
        second = Piece(20, 12.0, 0.5, 30.0)
        far = Piece(21, 4.0, 0.15, 90.0)
        assert self.codes(self.GOOD, pieces=(near_crumb,)) == []
        assert self.codes(self.GOOD, pieces=(second, near_crumb, far)) == [
            ("duplicate", ("L1",)),
            ("duplicate", ("L2",)),
        ]

    def test_renamed_vertebrae(self) -> None:
        changes = (Change(20, 19, 30.0), Change(25, 0, 2.0))
        renamed, left_out = doubts_about_changes(changes)
        assert renamed.code == left_out.code == "renamed"
        assert renamed.labels == (19,) and "L1 (30.0 ml) is named T12" in renamed.message
        assert left_out.labels == (25,) and "L6 (2.0 ml) was left out" in left_out.message

    def test_low_confidence(self) -> None:
        assert self.codes(self.GOOD, confidence=0.4) == [("low_confidence", tuple(self.GOOD))]

    def test_scans_unlike_those_of_training(self) -> None:
        assert self.codes(self.GOOD, spacing_mm=5.0, shape=(40, 40, 60)) == [("spacing", ())]
        assert self.codes(self.GOOD, shape=(200, 200, 100)) == [("field_of_view", ())]
        assert self.codes(self.GOOD, shape=(600, 200, 400)) == [("field_of_view", ())]
        assert self.codes(self.GOOD, spacing_mm=0.4, shape=(500, 500, 1000)) == []

    def test_nothing_found(self) -> None:
        assert self.codes({}) == [("no_vertebra", ())]


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
        logits = np.zeros((29, *image.shape), np.float32)
        logits[:, *box] = model.forward(image[None, None])[:, *box]
        seen.append(box)
        return logits, logits.argmax(axis=0).astype(np.uint8)

    monkeypatch.setattr(segmenting, "predict_box", look)
    found, spine = segment(replace(model, trained=trained([30, 12, 16])), volume)
    assert len(seen) == times
    assert set(spine.confidence) == set(phantom.centroids_mm)
    assert multi_label_dice(confusion(mask, found)) > 0.75


class TestOneSpine:
    CELL_MM = np.array([5.0, 5.0, 5.0])

    def test_what_lies_apart_is_not_of_the_spine(self) -> None:
        label_map = np.zeros((40, 12, 60), np.uint8)
        for label, z in ((22, 2), (21, 9), (20, 16), (18, 26)):
            label_map[2:8, 2:8, z : z + 5] = label
        label_map[30:34, 2:6, 20:24] = 5
        assert labels_of_spine(label_map, self.CELL_MM) == [18, 20, 21, 22]
        label_map[2:8, 2:8, 45:50] = 8
        # 70 mm from label 18.
        assert labels_of_spine(label_map, self.CELL_MM) == [18, 20, 21, 22]
        assert labels_of_spine(np.zeros_like(label_map), self.CELL_MM) == []

    def test_a_network_that_is_sure_of_nothing_finds_nothing(self, phantom: Phantom) -> None:
        sure = oracle(phantom)

        def forward(images: np.ndarray) -> np.ndarray:
            return sure.forward(images) * 0.4

        volume = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
        mask, unsure = segment(Model("", "", "torch", sure.trained, forward), volume)
        assert not mask.any() and not unsure.confidence
        assert set(unsure.dismissed) == set(phantom.centroids_mm)
        (doubt,) = doubts_about(volume, unsure, {}, trained())
        assert doubt.code == "no_vertebra" and "47%" in doubt.message


def test_segmenting_keeps_what_the_network_knows(phantom: Phantom) -> None:
    volume = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    mask, spine = segment(oracle(phantom), volume)
    assert set(spine.confidence) == set(phantom.centroids_mm)
    assert multi_label_dice(confusion(phantom.mask, mask)) > 0.75


def test_two_vertebrae_that_were_mixed_up_are_put_in_order(phantom: Phantom) -> None:
    volume = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    sure = oracle(phantom)
    a, b = list(phantom.centroids_mm)[2:4]

    def forward(images: np.ndarray) -> np.ndarray:
        logits = sure.forward(images)
        logits[[a, b]] = logits[[b, a]]
        return logits

    model = Model("", "", "torch", sure.trained, forward)
    mixed_up, spine = segment(model, volume, in_order=False)
    assert not spine.changes
    mended, spine = segment(model, volume)
    assert {(change.before, change.after) for change in spine.changes} == {(a, b), (b, a)}
    assert set(spine.confidence) == set(phantom.centroids_mm)
    overlap = [multi_label_dice(confusion(phantom.mask, mask)) for mask in (mixed_up, mended)]
    assert overlap[1] > overlap[0] + 0.1 and overlap[1] > 0.75


@pytest.mark.parametrize("seed", range(6))
def test_any_label_map_can_be_measured_and_doubted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (48, 56, 64)
    smooth = gaussian_filter(rng.normal(size=(12, *shape)), (0, *rng.uniform(1, 7, 3)))
    mask = (smooth.argmax(axis=0) + 14).astype(np.uint8)
    mask[smooth.max(axis=0) < np.quantile(smooth.max(axis=0), rng.uniform(0.2, 0.9))] = 0
    affine = np.diag([*rng.uniform(0.7, 3, 3), 1])
    ct = Volume(rng.normal(150, 300, shape).astype(np.int16), affine, Geometry(shape, affine))
    measures = measure_vertebrae(ct, mask)
    assert {one.label for one in measures} == set(np.unique(mask)) - {0}
    for one in measures:
        heights = (one.height_anterior_mm, one.height_middle_mm, one.height_posterior_mm)
        assert all(height is None or 0 < height < 200 for height in heights)
    confidence = {one.label: 0.5 for one in measures}
    centres = body_centres(mask, affine)
    doubts_about(ct, Spine(confidence), centres, trained())
