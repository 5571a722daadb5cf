"""A scan's and a fold's rows, from arrays and from files, against answers worked out by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from vertseg.anatomy.centroids import body_centres, write_centroids
from vertseg.anatomy.labels import IDS, SACRUM
from vertseg.core.errors import UserError
from vertseg.dataset.samples import Sample
from vertseg.evaluation.scans import LABEL_COLUMNS, SCAN_COLUMNS, Case, evaluate_fold, evaluate_scan
from vertseg.scans.nifti import load_mask, save_mask
from vertseg.scans.volumes import Geometry
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridTransform

T12, T13, L1, L2 = (IDS[name] for name in ("T12", "T13", "L1", "L2"))
SHAPE = (12, 12, 48)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LPS_AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


def spine(*labels: int, edge: int = 6) -> np.ndarray:
    """Cubes of 6 voxels, 12 voxels (24 mm) apart, from the top downwards; 0 leaves a gap."""
    mask = np.zeros(SHAPE, np.uint8)
    for index, label in enumerate(labels):
        top = SHAPE[2] - 3 - 12 * index
        mask[3 : 3 + edge, 3:9, top - 6 : top] = label
    return mask


def case(reference: np.ndarray, predicted: np.ndarray) -> Case:
    return Case(
        reference,
        predicted,
        AFFINE,
        body_centres(reference, AFFINE),
        body_centres(predicted, AFFINE),
        reference[::2, ::2, ::2],
        predicted[::2, ::2, ::2],
    )


class TestScan:
    def test_missed_invented_and_halved_vertebrae(self) -> None:
        predicted = spine(T12, 0, L2)
        predicted[spine(T12, edge=3) > 0] = 0
        scan, labels = evaluate_scan(case(spine(T12, L1), predicted))
        halved = 2 * 3 / (6 + 3)
        assert scan["multi_label_dice_native"] == pytest.approx((halved + 0 + 0) / 3)
        assert scan["multi_label_dice_native_reference_labels"] == pytest.approx(halved / 2)
        assert scan["binary_dice_native"] == pytest.approx(2 * 3 / ((6 + 6) + (3 + 6)))
        assert scan["id_rate"] == 0.5
        assert scan["id_precision"] == 0.5
        assert scan["localisation_error_mm"] == pytest.approx(3)
        assert (scan["n_reference"], scan["n_predicted"], scan["n_matched"]) == (2, 2, 1)
        assert not scan["all_labels_right"]
        rows = {row["label"]: row for row in labels}
        assert rows[T12]["reference_voxels"] == 216
        assert rows[T12]["predicted_voxels"] == 108
        assert rows[T12]["hausdorff_mm"] == pytest.approx(6)
        assert rows[L1]["identified"] == 0
        assert np.isnan(rows[L1]["distance_mm"]) and np.isnan(rows[L1]["hausdorff_mm"])
        assert np.isnan(rows[L2]["identified"]) and np.isnan(rows[L2]["reference_z_mm"])
        assert rows[L2]["dice_native"] == 0

    def test_a_spine_one_label_too_low(self) -> None:
        scan, _ = evaluate_scan(case(spine(T12, L1), spine(L1, L2)))
        assert scan["shift"] == 1
        assert scan["id_rate"] == 0
        assert scan["binary_dice"] == 1
        assert scan["multi_label_dice"] == 0

    def test_labels_come_in_the_spines_order(self) -> None:
        scan, labels = evaluate_scan(case(spine(T12, T13, L1), spine(T12, T13, L1)))
        assert [row["name"] for row in labels] == ["T12", "T13", "L1"]
        assert scan["all_labels_right"] and scan["shift"] == 0
        assert scan["multi_label_dice"] == scan["id_rate"] == 1

    def test_a_vertebra_at_the_border_is_left_out_of_the_interior(self) -> None:
        reference, predicted = spine(T12, L1), spine(0, L1)
        reference[3:9, 3:9, -3:] = predicted[3:5, 3:9, -3:] = T12
        scan, labels = evaluate_scan(case(reference, predicted))
        assert scan["n_boundary"] == 1
        assert scan["multi_label_dice_native_interior"] == 1 > scan["multi_label_dice_native"]
        assert [row["boundary"] for row in labels] == [True, False]

    def test_nothing_predicted(self) -> None:
        scan, labels = evaluate_scan(case(spine(T12), np.zeros(SHAPE, np.uint8)))
        assert scan["multi_label_dice"] == scan["id_rate"] == 0
        assert np.isnan(scan["shift"]) and np.isnan(scan["hausdorff_mm"])
        assert len(labels) == 1

    def test_without_a_spine_there_are_no_labels_to_be_right(self) -> None:
        empty = np.zeros(SHAPE, np.uint8)
        for predicted, dice in ((empty, 1), (spine(T12), 0)):
            scan, _ = evaluate_scan(case(empty, predicted))
            assert scan["multi_label_dice"] == scan["multi_label_dice_native"] == dice
            for measure in ("all_labels_right", "id_rate", "shift", "localisation_error_mm"):
                assert np.isnan(scan[measure]), measure


def preprocessed(mask: Path, native: Geometry, cache: Path) -> None:
    """Cache a scan's labels as the step `preprocess` does, with the sacrum."""
    reference = load_mask(mask, native, sacrum=True)
    transform = GridTransform((6, 6, 24), native)
    label = transform.encode_labels(reference.array)
    write_cache(cache, CachedScan(cache.stem, np.zeros(label.shape, np.float16), label, transform))


class Fold:
    """Two scans on disk, stored in LPS order: one predicted right, one a label too low."""

    def __init__(self, folder: Path) -> None:
        self.predictions = folder / "predictions"
        self.predictions.mkdir()
        self.native = Geometry(SHAPE, LPS_AFFINE)
        self.samples: list[Sample] = []
        self.caches: dict[str, str] = {}
        for name, labels in (("b", (L1, L2)), ("a", (T12, L1))):
            mask, cache = folder / f"{name}_mask.nii.gz", folder / f"{name}.safetensors"
            reference, predicted = spine(T12, L1), spine(*labels)
            save_mask(mask, reference, self.native)
            preprocessed(mask, self.native, cache)
            stem = self.predictions / name
            save_mask(f"{stem}_seg-vert_msk.nii.gz", predicted, self.native)
            centres = body_centres(predicted, self.native.canonical_affine)
            write_centroids(f"{stem}_seg-vert_ctd.json", centres, LPS_AFFINE)
            self.samples.append(Sample(name, f"sub-{name}", f"{name}_ct.nii.gz", str(mask)))
            self.caches[name] = str(cache)

    def evaluate(self, processes: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
        return evaluate_fold("net", 1, self.samples, self.predictions, self.caches, processes)


@pytest.fixture
def fold(tmp_path: Path) -> Fold:
    return Fold(tmp_path)


class TestFold:
    def test_rows_are_those_of_the_files(self, fold: Fold) -> None:
        scans, labels = fold.evaluate()
        assert list(scans.columns) == SCAN_COLUMNS
        assert list(labels.columns) == LABEL_COLUMNS
        assert scans["scan"].tolist() == ["a", "b"]
        assert scans["subject"].tolist() == ["sub-a", "sub-b"]
        assert set(scans["method"]) == {"net"} and set(scans["fold"]) == {1}
        assert scans["shift"].tolist() == [0, 1]
        assert scans["id_rate"].tolist() == [1, 0]
        assert scans["multi_label_dice"].tolist() == [1, 0]
        assert scans["localisation_error_mm"][0] == pytest.approx(0, abs=2e-3)

    def test_several_processes_give_the_same_tables(self, fold: Fold) -> None:
        for one, two in zip(fold.evaluate(), fold.evaluate(processes=2), strict=True):
            pd.testing.assert_frame_equal(one, two)

    def test_a_prediction_on_the_grid_is_what_dice_is_measured_on(self, fold: Fold) -> None:
        empty = np.zeros((6, 6, 24), np.uint8)
        save_file({"label": empty}, fold.predictions / "a_grid.safetensors")
        scans, _ = fold.evaluate()
        assert scans["multi_label_dice"][0] == 0
        assert scans["multi_label_dice_native"][0] == 1

    def test_a_labelled_sacrum_changes_no_measure(self, fold: Fold) -> None:
        before = fold.evaluate()
        for sample in fold.samples:
            save_mask(sample.mask, spine(T12, L1, SACRUM), fold.native)
            preprocessed(Path(sample.mask), fold.native, Path(fold.caches[sample.scan]))
        for table, unchanged in zip(fold.evaluate(), before, strict=True):
            pd.testing.assert_frame_equal(table, unchanged)

    def test_annotated_centres_come_before_the_masks(self, fold: Fold, tmp_path: Path) -> None:
        annotated = {
            label: centre + np.array([0, 0, 7.5]) for label, centre in self.centres(fold).items()
        }
        self.annotate(fold, tmp_path / "a_ctd.json", annotated, LPS_AFFINE)
        assert fold.evaluate()[0]["localisation_error_mm"][0] == pytest.approx(7.5, abs=2e-3)

    def test_annotations_may_be_in_the_masks_orientation(self, fold: Fold, tmp_path: Path) -> None:
        mask = nib.as_closest_canonical(nib.load(fold.samples[1].mask))
        nib.save(mask, fold.samples[1].mask)
        self.annotate(fold, tmp_path / "a_ctd.json", self.centres(fold), mask.affine)
        assert fold.evaluate()[0]["localisation_error_mm"][0] == pytest.approx(0, abs=2e-3)

    def test_annotations_of_another_orientation_are_refused(
        self, fold: Fold, tmp_path: Path
    ) -> None:
        path = tmp_path / "a_ctd.json"
        self.annotate(fold, path, self.centres(fold), LPS_AFFINE)
        content = json.loads(path.read_text())
        content[0]["direction"] = ["P", "I", "R"]
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"a_ctd\.json"):
            fold.evaluate()

    @pytest.mark.parametrize("file", ["a_seg-vert_msk.nii.gz", "b_seg-vert_ctd.json"])
    def test_a_missing_prediction_is_named(self, fold: Fold, file: str) -> None:
        (fold.predictions / file).unlink()
        with pytest.raises(UserError, match=file):
            fold.evaluate()

    def test_other_mistakes_are_named(self, fold: Fold) -> None:
        shutil.copy(fold.caches["a"], fold.predictions / "a_grid.safetensors")
        with pytest.raises(UserError, match=r"a_grid\.safetensors"):
            evaluate = [sample for sample in fold.samples if sample.scan == "a"]
            damaged = fold.predictions / "a_grid.safetensors"
            damaged.write_bytes(damaged.read_bytes()[:40])
            evaluate_fold("net", 1, evaluate, fold.predictions, fold.caches)
        with pytest.raises(UserError, match="No scan"):
            evaluate_fold("net", 1, [], fold.predictions, {})
        del fold.caches["b"]
        with pytest.raises(UserError, match="b: not among the cache files"):
            fold.evaluate()

    @staticmethod
    def centres(fold: Fold) -> dict[int, np.ndarray]:
        return body_centres(spine(T12, L1), fold.native.canonical_affine)

    @staticmethod
    def annotate(
        fold: Fold, path: Path, centres: dict[int, np.ndarray], affine: np.ndarray
    ) -> None:
        write_centroids(path, centres, affine)
        fold.samples[1] = replace(fold.samples[1], centroids=str(path))
