"""A reader's corrections applied to results, without the network; the network's own come back."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_series import ct_slices, save_slices
from oracle import oracle
from PIL import Image
from pydicom import dcmread

from vertseg import cli
from vertseg.anatomy.centroids import read_centroids
from vertseg.anatomy.labels import IDS, NAMES
from vertseg.core.files import file_sha256
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.predict.batch import LOCK_NAME
from vertseg.predict.correction import FORMAT
from vertseg.predict.earlier import ORIGINALS
from vertseg.predict.pipeline import Options, predict_scan
from vertseg.predict.result import read_result
from vertseg.predict.viewer_volumes import read_viewer_volumes
from vertseg.predict.warnings import warnings_after_correction


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(11, preset("demo"))


@pytest.fixture(scope="module")
def predicted(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, `scan/sub-x_ct.nii.gz`, and its results in `out`."""
    folder = tmp_path_factory.mktemp("predicted")
    scan = folder / "scan/sub-x_ct.nii.gz"
    scan.parent.mkdir()
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), scan)
    (folder / "out").mkdir()
    predict_scan(scan, "sub-x", oracle(phantom), Options(folder / "out"))
    return folder


@pytest.fixture
def out(predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the results, to change; no network is at hand."""

    def no_network(*_: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("vertseg.segmentation.model.load_model", no_network)
    return Path(shutil.copytree(predicted / "out", tmp_path / "out"))


def labels_of(out: Path) -> list[int]:
    return [one["label"] for one in read_result(out / "sub-x_result.json").vertebrae]


def write_correction(out: Path, *vertebrae: dict[str, Any], **changes: Any) -> Path:
    content = {
        "format": FORMAT,
        "scan": "sub-x",
        "mask_sha256": file_sha256(out / "sub-x_seg-vert_msk.nii.gz"),
        "vertebrae": list(vertebrae),
    }
    path = out / "sub-x_correction.json"
    path.write_text(json.dumps(content | changes))
    return path


def renaming(names: dict[int, int | None]) -> list[dict[str, Any]]:
    return [{"label": label, "becomes": becomes} for label, becomes in names.items()]


def mask_of(out: Path) -> np.ndarray:
    return np.asanyarray(nib.load(out / "sub-x_seg-vert_msk.nii.gz").dataobj)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (LOCK_NAME, "report.html", "sub-x_correction.json")
    }


def centroids(out: Path) -> dict[int, np.ndarray]:
    affine = nib.load(out / "sub-x_seg-vert_msk.nii.gz").affine
    return read_centroids(out / "sub-x_seg-vert_ctd.json", affine)


def test_a_shift_renames_everything_and_measures_the_same_bones(out: Path) -> None:
    before, mask, centres = read_result(out / "sub-x_result.json"), mask_of(out), centroids(out)
    labels = labels_of(out)
    assert IDS["L1"] in labels and 1 not in labels and IDS["T13"] not in labels
    one_up = {label: label - 1 for label in labels}
    path = write_correction(out, *renaming(one_up))
    assert cli.main(["apply", str(path)]) == 0

    np.testing.assert_array_equal(mask_of(out), np.where(mask > 0, mask - 1, 0))
    after = read_result(out / "sub-x_result.json")
    assert [one["name"] for one in after.vertebrae] == [NAMES[i - 1] for i in labels]
    for one, other in zip(before.vertebrae, after.vertebrae, strict=True):
        same = ("confidence", "complete", "volume_ml", "body_volume_ml", "trabecular_hu")
        assert [one[key] for key in same] == [other[key] for key in same]
    moved = centroids(out)
    assert set(moved) == {label - 1 for label in labels}
    for label in labels:
        np.testing.assert_allclose(moved[label - 1], centres[label], atol=2e-3)
    assert not {one["code"] for one in after.warnings} & {"out_of_order", "gap"}
    rows = list(csv.DictReader((out / "sub-x_measures.csv").open()))
    assert [row["name"] for row in rows] == [one["name"] for one in after.vertebrae]
    positions = json.loads(read_viewer_volumes(after.viewer))["positions"]
    assert set(map(int, positions)) == set(moved)
    assert after.mask_sha256 == file_sha256(out / "sub-x_seg-vert_msk.nii.gz")
    assert list(after.corrections) == [json.loads(path.read_text())]
    page = (out / "report.html").read_text()
    assert "Corrected by a reader" in page and 'class="badge corrected"' in page


def test_the_networks_result_comes_back(out: Path) -> None:
    before = contents(out)
    labels = labels_of(out)
    first = write_correction(out, {"label": labels[0], "becomes": None})
    assert cli.main(["apply", str(first)]) == 0
    corrected = contents(out)
    assert {
        name.removeprefix(f"{ORIGINALS}/sub-x/"): content
        for name, content in corrected.items()
        if name.startswith(ORIGINALS)
    } == before
    second = write_correction(out, {"label": labels[1], "becomes": labels[0]})
    assert cli.main(["apply", str(second)]) == 0
    assert len(read_result(out / "sub-x_result.json").corrections) == 2
    assert labels_of(out) == [labels[0], *labels[2:]]
    assert cli.main(["apply", "--undo", str(second)]) == 0
    assert contents(out) == before
    assert cli.main(["apply", "--undo", str(second)]) == 1, "nothing is left to take back"
    assert contents(out) == before


def test_deleted_and_moved(out: Path) -> None:
    labels, centres, mask = labels_of(out), centroids(out), mask_of(out)
    goal = centres[labels[1]] + (3, -4, 5)
    path = write_correction(
        out,
        {"label": labels[0], "becomes": None},
        {"label": labels[1], "becomes": labels[1], "centre_mm": goal.tolist()},
    )
    assert cli.main(["apply", str(path)]) == 0
    np.testing.assert_array_equal(mask_of(out), np.where(mask == labels[0], 0, mask))
    assert labels_of(out) == labels[1:]
    np.testing.assert_allclose(centroids(out)[labels[1]], goal, atol=2e-3)
    assert labels[0] not in centroids(out)
    again = write_correction(out, {"label": labels[-1], "becomes": None})
    assert cli.main(["apply", str(again)]) == 0
    np.testing.assert_allclose(centroids(out)[labels[1]], goal, atol=2e-3, err_msg="it stays")


def test_all_vertebrae_can_be_deleted(out: Path) -> None:
    path = write_correction(out, *renaming(dict.fromkeys(labels_of(out))))
    assert cli.main(["apply", str(path), "--single-file"]) == 0
    assert not mask_of(out).any() and labels_of(out) == []
    assert len((out / "report.html").read_text()) > 1_000_000


def test_a_correction_that_lies_elsewhere(out: Path, tmp_path: Path, capsys) -> None:
    labels = labels_of(out)
    path = write_correction(out, {"label": labels[0], "becomes": None})
    elsewhere = path.rename(tmp_path / "download.json")
    assert cli.main(["apply", str(elsewhere)]) == 1
    assert "Give the folder that holds the result of sub-x: --output" in capsys.readouterr().err
    assert cli.main(["apply", str(elsewhere), "--output", str(out)]) == 0
    assert labels_of(out) == labels[1:]


def refused(out: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = contents(out)
    capsys.readouterr()
    assert cli.main(["apply", str(path)]) == 1
    assert contents(out) == before
    assert not (out / "report.html").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[]", "its format is None"),
        (json.dumps({"format": "vertseg-result-1"}), "'vertseg-result-1'"),
        (json.dumps({"format": FORMAT, "scan": "sub-x"}), "required"),
    ],
)
def test_other_files_are_refused(out: Path, capsys, text: str, reason: str) -> None:
    path = out / "sub-x_correction.json"
    path.write_text(text)
    assert reason in refused(out, path, capsys)


def test_corrections_that_do_not_fit_are_refused(out: Path, capsys) -> None:
    first, second, *_ = labels_of(out)
    entry = {"label": first, "becomes": second}
    for vertebrae, reason in (
        ([], "vertebrae"),
        ([{"label": 26, "becomes": 1}], "vertebrae[0].label"),
        ([{"label": first, "becomes": 26}], "vertebrae[0].becomes"),
        ([entry, entry], f"names {NAMES[first]} twice"),
        ([entry], f"two vertebrae would be {NAMES[second]}"),
        ([{"label": 1, "becomes": None}], "changes C1, which the result of sub-x lacks"),
        ([{"label": first, "becomes": None, "centre_mm": [0, 0, 0]}], "and moves it"),
        ([{"label": first, "becomes": first, "centre_mm": [0, 0, 9e5]}], "outside the scan"),
        ([{"label": first, "becomes": first, "centre_mm": [0, 0, float("nan")]}], "centre_mm"),
    ):
        assert reason in refused(out, write_correction(out, *vertebrae), capsys)
    absent = write_correction(out, {"label": first, "becomes": None}, scan="sub-y")
    assert "sub-y_result.json: no such result" in refused(out, absent, capsys)


def test_stale_corrections_are_refused(out: Path, capsys) -> None:
    labels = labels_of(out)
    entry = {"label": labels[0], "becomes": None}
    other = write_correction(out, entry, mask_sha256="0" * 64)
    assert "was made for other labels" in refused(out, other, capsys)
    path = write_correction(out, entry)
    assert cli.main(["apply", str(path)]) == 0
    (out / "report.html").unlink()
    assert "was applied before" in refused(out, path, capsys)


def test_changed_files_are_refused(out: Path, predicted: Path, capsys, tmp_path: Path) -> None:
    path = write_correction(out, {"label": labels_of(out)[0], "becomes": None})
    mask = out / "sub-x_seg-vert_msk.nii.gz"
    whole = mask.read_bytes()
    mask.write_bytes(whole + b"\0")
    assert "is not the label map of sub-x_result.json" in refused(out, path, capsys)
    mask.unlink()
    assert "lacks its mask file" in refused(out, path, capsys)
    mask.write_bytes(whole)
    result = json.loads((out / "sub-x_result.json").read_text())
    copy = Path(shutil.copytree(predicted / "scan", tmp_path / "scan")) / "sub-x_ct.nii.gz"
    (out / "sub-x_result.json").write_text(json.dumps(result | {"source": str(copy)}))
    assert "has changed since" in refused(out, path, capsys)
    copy.unlink()
    assert f"{copy}: no such scan" in refused(out, path, capsys)
    result["model"].pop("cell_mm")
    (out / "sub-x_result.json").write_text(json.dumps(result))
    assert "size of the network's cells" in refused(out, path, capsys)


def names_in_dicom(path: Path) -> set[str]:
    """Vertebrae that a DICOM object names: its segments, regions of interest or finding sites."""
    ds = dcmread(path)
    if ds.Modality == "SEG":
        named = [str(one.SegmentLabel) for one in ds.SegmentSequence]
    elif ds.Modality == "RTSTRUCT":
        named = [str(one.ROIName) for one in ds.StructureSetROISequence]
    else:
        named = [one.value for one in ds.iterall() if one.keyword == "TextValue"]
    return set(NAMES.values()) & set(named)


def test_dicom_objects_and_titles_follow(
    tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(
        "vertseg.figures.preview.draw_preview",
        lambda _ct, _mask, path, title, *_: (
            titles.append(title),
            Image.new("RGB", (8, 8)).save(path),
        ),
    )
    part = replace(phantom, ct=phantom.ct[..., :70], mask=phantom.mask[..., :70])
    series = save_slices(tmp_path / "scan", ct_slices(part.ct, part.affine))
    out = tmp_path / "out"
    out.mkdir()
    kinds = {"seg", "labelmap", "rtstruct", "sr"}
    predict_scan(series, "sub-x", oracle(part), Options(out, dicom=frozenset(kinds), viewer=False))
    labels = labels_of(out)
    files = [out / f"sub-x_{kind}.dcm" for kind in sorted(kinds)]
    before = [names_in_dicom(file) for file in files]
    assert before == [{NAMES[label] for label in labels}] * len(kinds)
    assert cli.main(["apply", str(write_correction(out, {"label": labels[0], "becomes": 1}))]) == 0
    after = [names_in_dicom(file) for file in files]
    assert after == [{NAMES[label] for label in [1, *labels[1:]]}] * len(kinds)
    assert not (out / "sub-x_viewer.js").exists(), "as before the correction"
    assert titles == ["sub-x: spine"] * 2, "with the series' description"


class TestWarnings:
    def test_those_of_the_whole_scan_remain(self) -> None:
        before = [
            {"code": "renamed", "labels": [20], "message": "The network's T13 is named T12."},
            {"code": "spacing", "labels": [], "message": "coarse"},
            {"code": "no_vertebra", "labels": [], "message": "none"},
            {"code": "uncertain_levels", "labels": [], "message": "The levels are uncertain."},
        ]
        centres = {20: np.array([0.0, 0, 60]), 21: np.array([0.0, 0, 90])}
        found = warnings_after_correction(before, centres, {20: 0.9, 21: 0.3})
        assert [one.code for one in found] == ["out_of_order", "low_confidence", "spacing"]
        assert warnings_after_correction(before, {}, {})[0].message == "coarse"
