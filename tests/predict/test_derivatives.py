"""Predictions as a BIDS derivative data set."""

import csv
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from oracle import sees_l1

from vertseg import __version__, cli
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.core.files import file_sha256
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.predict.correction import FORMAT as CORRECTION_FORMAT
from vertseg.predict.result import read_result

STEMS = ("sub-01_ses-a_acq-bone_run-1", "sub-01_ses-b", "sub-02")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A block of bone in muscle and fat, 80 mm of a body."""
    ct = np.full((60, 60, 20), -1000, np.int16)
    ct[8:52, 12:48] = -90
    ct[14:46, 18:42] = 40
    ct[24:36, 24:36, 5:15] = 300
    image = nib.Nifti1Image(ct, np.diag([3.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm")
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nib.save(image, path)
    return path


@pytest.fixture
def raw(tmp_path: Path, scan: Path) -> Path:
    """A data set of two participants, one of them with two sessions."""
    root = tmp_path / "raw"
    for stem in STEMS:
        folder = root.joinpath(*stem.split("_")[: 2 if "ses-" in stem else 1], "ct")
        folder.mkdir(parents=True)
        shutil.copy(scan, folder / f"{stem}_ct.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "Raw", "BIDSVersion": "1.10.0"}')
    return root


@pytest.fixture(autouse=True)
def known_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: sees_l1())


def predict(*arguments: str | Path) -> int:
    return cli.main(["predict", *map(str, arguments), "--no-report"])


def test_a_data_set_becomes_a_derivative_data_set(raw: Path, capsys) -> None:
    out = raw / "derivatives/vertseg"
    assert predict(raw, "--output", out) == 0
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "vertseg"
    assert description["GeneratedBy"][0]["Version"] == __version__
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert RESEARCH_USE_ONLY in (out / "README.md").read_text()
    places = ("sub-01/ses-a/anat", "sub-01/ses-b/anat", "sub-02/anat")
    ignored = (out / ".bidsignore").read_text().split()
    for stem, place in zip(STEMS, places, strict=True):
        files = {path.name for path in (out / place).iterdir()}
        result = read_result(out / place / f"{stem}_result.json")
        assert {*result.outputs.values(), f"{stem}_result.json"} == files
        mask = nib.load(out / place / result.outputs["mask"])
        assert result.outputs["mask"] == f"{stem}_desc-vertseg_dseg.nii.gz"
        assert np.unique(np.asanyarray(mask.dataobj)).tolist() == [0, 20]
        known = {f"{stem}_desc-vertseg_dseg.{end}" for end in ("nii.gz", "json", "tsv")}
        assert known <= files
        assert all(any(fnmatch(name, one) for one in ignored) for name in files - known)
    sidecar = json.loads((out / places[0] / f"{STEMS[0]}_desc-vertseg_dseg.json").read_text())
    assert sidecar["Manual"] is False
    assert sidecar["Sources"] == [f"bids:raw:sub-01/ses-a/ct/{STEMS[0]}_ct.nii.gz"]
    table = (out / places[0] / f"{STEMS[0]}_desc-vertseg_dseg.tsv").open()
    rows = list(csv.DictReader(table, delimiter="\t"))
    assert [(int(row["index"]), row["name"]) for row in rows] == [
        (label, NAMES[label]) for label in CRANIOCAUDAL
    ]
    assert all(len(row["color"]) == 7 for row in rows)

    capsys.readouterr()
    assert predict(raw, "--output", out) == 0
    assert capsys.readouterr().err.count("kept from an earlier call") == 3


def test_other_scans_on_request(tmp_path: Path, raw: Path, scan: Path) -> None:
    other = tmp_path / "p 1.nii.gz"
    shutil.copy(scan, other)
    broken = tmp_path / "p2.nii.gz"
    broken.write_bytes(b"")
    out = tmp_path / "out"
    assert predict(other, broken, "--output", out, "--bids") == 1
    assert (out / "sub-p1/anat/sub-p1_desc-vertseg_dseg.nii.gz").exists()
    assert [path.name for path in (out / "sub-p2/anat").iterdir()] == ["sub-p2_failed.json"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {}
    sidecar = json.loads((out / "sub-p1/anat/sub-p1_desc-vertseg_dseg.json").read_text())
    assert "Sources" not in sidecar and sidecar["SpatialReference"] == "orig"
    assert predict(raw / f"sub-02/ct/{STEMS[2]}_ct.nii.gz", "--output", out, "--bids") == 0
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": "../raw"}


def test_a_correction_finds_its_result_in_the_data_set(tmp_path: Path, scan: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "p1.nii.gz"
    shutil.copy(scan, other)
    assert predict(other, "--output", out, "--bids") == 0
    folder = out / "sub-p1/anat"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    correction = {
        "format": CORRECTION_FORMAT,
        "scan": "sub-p1",
        "mask_sha256": file_sha256(folder / "sub-p1_desc-vertseg_dseg.nii.gz"),
        "vertebrae": [{"label": 20, "becomes": 21}],
    }
    path = tmp_path / "sub-p1_correction.json"
    path.write_text(json.dumps(correction))
    assert cli.main(["apply", str(path), "--output", str(out)]) == 0
    mask = nib.load(folder / "sub-p1_desc-vertseg_dseg.nii.gz")
    assert np.unique(np.asanyarray(mask.dataobj)).tolist() == [0, 21]
    assert "L2" in (folder / "sub-p1_measures.csv").read_text()
    table, sidecar = (f"sub-p1_desc-vertseg_dseg.{suffix}" for suffix in ("tsv", "json"))
    assert (folder / table).read_bytes() == before[table]
    stated, original = json.loads((folder / sidecar).read_bytes()), json.loads(before[sidecar])
    corrected = f"{original.pop('Description')} Labels corrected by a reader."
    assert stated == original | {"Description": corrected}
    assert {file.name for file in folder.iterdir()} == {*before, "originals"}
    assert "Corrected by a reader" in (out / "report.html").read_text()
    assert cli.main(["apply", "--undo", str(path), "--output", str(out)]) == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before

    # Beside the result: the page and the lock are those of the data set, too.
    page = (out / "report.html").read_text()
    beside = Path(shutil.move(path, folder))
    assert cli.main(["apply", str(beside)]) == 0
    assert "L2" in (folder / "sub-p1_measures.csv").read_text()
    assert {file.name for file in folder.iterdir()} == {*before, "originals", beside.name}
    assert (out / "report.html").read_text() != page


def test_another_data_set_is_not_written_into(raw: Path, capsys) -> None:
    before = (raw / "dataset_description.json").read_bytes()
    assert predict(raw, "--output", raw) == 2
    assert "a data set that vertseg did not write" in capsys.readouterr().err
    assert (raw / "dataset_description.json").read_bytes() == before
