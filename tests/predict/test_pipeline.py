"""From a CT file to everything `vertseg predict` writes, with a network whose answer is known."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import ct_slices, save_slices
from oracle import oracle, sees_l1, sees_nothing
from pydicom import Dataset

from vertseg import cli
from vertseg.core.errors import UserError
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.evaluation.metrics import confusion, multi_label_dice
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.predict.pipeline import Options, predict_scan
from vertseg.predict.result import read_result
from vertseg.scans.nifti import load_ct, load_mask


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

    def test_points_of_all_forms_agree(self, output) -> None:
        affine = nib.load(output / "patient_seg-vert_msk.nii.gz").affine
        _, *entries = json.loads((output / "patient_seg-vert_ctd.json").read_text())
        markups = json.loads((output / "patient_seg-vert_ctd.mrk.json").read_text())
        points = {one["label"]: one["position"] for one in markups["markups"][0]["controlPoints"]}
        rows = list(csv.DictReader((output / "patient_seg-vert_ctd.csv").open()))
        assert len(entries) == len(points) == len(rows) > 3
        for entry, row in zip(entries, rows, strict=True):
            assert int(row["label"]) == entry["label"]
            ras = nib.affines.apply_affine(affine, [entry[axis] for axis in "XYZ"])
            np.testing.assert_allclose([float(row[f"{axis}_ras_mm"]) for axis in "xyz"], ras,
                                       atol=3e-3)  # fmt: skip
            np.testing.assert_allclose(points[row["name"]], [-1, -1, 1] * ras, atol=3e-3)

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

        monkeypatch.setattr("vertseg.predict.outputs.write_measures", fail)
        with pytest.raises(Exception, match="No space left"):
            predict_scan(scan, "patient", oracle(phantom), Options(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_a_scan_without_vertebrae(self, tmp_path, scan) -> None:
        result = read_result(predict_scan(scan, "patient", sees_nothing(), Options(tmp_path)))
        assert [warning["code"] for warning in result.warnings] == ["no_vertebra"]
        assert not np.asanyarray(nib.load(tmp_path / "patient_seg-vert_msk.nii.gz").dataobj).any()
        assert not result.vertebrae and result.preview

    def test_a_tilted_series_has_its_straight_ct_beside_it(self, tmp_path, phantom) -> None:
        slices = ct_slices(phantom.ct, phantom.affine)
        for index, dataset in enumerate(slices):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, round(float(y) - 0.2 * index, 6), z]
        folder = save_slices(tmp_path / "scan", slices)
        options = Options(tmp_path, dicom=frozenset({"seg"}), viewer=False, decoding="argmax")
        result = read_result(predict_scan(folder, "patient", sees_l1(), options))
        (message,) = (one["message"] for one in result.warnings if one["code"] == "tilt")
        assert "patient_straight_ct.nii.gz" in message
        ct = nib.load(tmp_path / "patient_straight_ct.nii.gz")
        mask = nib.load(tmp_path / "patient_seg-vert_msk.nii.gz")
        assert ct.shape == mask.shape and ct.shape[1] > slices[0].Rows
        np.testing.assert_array_equal(ct.affine, mask.affine)
        axes = ct.affine[:3, :3] / nib.affines.voxel_sizes(ct.affine)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        assert (tmp_path / "patient_seg.dcm").exists()
        values = np.asanyarray(ct.dataobj)
        assert values.dtype == np.int16 and values.min() == -1024 and values.max() > 300

    def test_a_series_that_no_dicom_object_can_refer_to(self, tmp_path, phantom) -> None:
        def edit(dataset: Dataset, index: int) -> None:
            del dataset.FrameOfReferenceUID

        folder = save_slices(tmp_path / "scan", ct_slices(phantom.ct, phantom.affine, edit=edit))
        options = Options(tmp_path, dicom=frozenset({"sr", "rtstruct", "labelmap"}))
        result = read_result(predict_scan(folder, "patient", oracle(phantom), options))
        warnings = {warning["code"]: warning["message"] for warning in result.warnings}
        for kind in ("seg", "labelmap", "rtstruct"):
            assert "states no frame of reference" in warnings[f"no_dicom_{kind}"]
        assert "no DICOM SEG for it to refer to" in warnings["no_dicom_sr"]
        assert (tmp_path / "patient_seg-vert_msk.nii.gz").exists()
        assert not list(tmp_path.glob("*.dcm"))
        content = json.loads((tmp_path / "patient_result.json").read_text())
        assert content["files"]["dicom_seg"] is None


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

    def test_each_file_of_a_series_means_the_whole_series_once(
        self, tmp_path, phantom, monkeypatch
    ) -> None:
        slices = ct_slices(phantom.ct, phantom.affine)[:3]
        files = sorted(save_slices(tmp_path / "p1", slices).iterdir())
        predicted = []

        def predict(scan: str, name: str, *_: object) -> None:
            predicted.append((scan, name))
            raise UserError("not now")

        monkeypatch.setattr("vertseg.predict.batch.predict_scan", predict)
        cli.main(["predict", *map(str, files), "--output", str(tmp_path / "o"), "--no-report"])
        assert predicted == [(str(files[0]), "p1_IM0000")]

    def test_outputs_that_exist_are_kept(self, tmp_path, scan) -> None:
        arguments = ["predict", str(scan), "--output", str(tmp_path), "--no-report"]
        assert cli.main(arguments) == 0
        assert not (tmp_path / "report.html").exists()
        assert not list(tmp_path.glob("*viewer*"))
        before = (tmp_path / "patient_result.json").stat().st_mtime_ns
        assert cli.main(arguments) == 0
        assert (tmp_path / "patient_result.json").stat().st_mtime_ns == before
        assert cli.main([*arguments, "--force"]) == 0
        assert not list(tmp_path.glob("*_failed.json"))

    def test_the_terminal_says_what_a_result_is_worth(
        self, tmp_path, scan, monkeypatch, capsys
    ) -> None:
        monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: sees_nothing())
        arguments = ["predict", str(scan), "--output", str(tmp_path), "--no-report"]
        result = tmp_path / "patient_result.json"
        reason = "(check; No vertebra was found in this scan.)"
        assert cli.main([*arguments, "--dicom", "seg"]) == 0
        said = capsys.readouterr().err
        assert f"patient: {result} {reason}" in said
        assert "No DICOM object was written: the scan is no DICOM series." in said
        codes = [one["code"] for one in json.loads(result.read_text())["warnings"]]
        assert codes == ["no_vertebra", "no_dicom_seg"]
        assert cli.main(arguments) == 0
        assert f"kept from an earlier call: {result} {reason}" in capsys.readouterr().err

    @pytest.mark.parametrize("threads", ["0", "-3", "two"])
    def test_threads_are_counted_from_one(self, tmp_path, scan, threads, capsys) -> None:
        with pytest.raises(SystemExit):
            cli.main(["predict", str(scan), "--output", str(tmp_path), "--threads", threads])
        assert f"{threads} is not a whole number from 1 up" in capsys.readouterr().err

    def test_an_output_that_is_no_folder(self, tmp_path, scan, capsys) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        assert cli.main(["predict", str(scan), "--output", str(blocked / "below")]) == 2
        assert "cannot be written to" in capsys.readouterr().err
