"""Calls with bad scans, interrupted and repeated calls, calls into one folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from filelock import FileLock
from oracle import oracle

from vertseg import cli
from vertseg.core.errors import UserError
from vertseg.phantom import Phantom, generate_phantom, preset
from vertseg.predict import pipeline
from vertseg.predict.batch import LOCK_NAME
from vertseg.predict.result import read_result
from vertseg.segmentation.model import Model

CALL = Path(__file__).with_name("stopping_call.py")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(11, preset("demo"))


@pytest.fixture(scope="module")
def scans(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One scan under three names: first, halt, third."""
    folder = tmp_path_factory.mktemp("scans")
    paths = [folder / f"{name}_ct.nii.gz" for name in ("first", "halt", "third")]
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), paths[0])
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return paths


@pytest.fixture(autouse=True)
def known_answer(monkeypatch: pytest.MonkeyPatch, phantom: Phantom) -> None:
    monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: oracle(phantom))


def arguments(scans: list[Path], output: Path, *options: str) -> list[str]:
    return ["predict", *map(str, scans), "--output", str(output), *options]


def stop(sign: signal.Signals, where: str, scans: list[Path], output: Path) -> tuple[int, str]:
    """Send a signal to a call that is in the scan `halt`; its exit status and its stderr."""
    call = subprocess.Popen(
        [sys.executable, CALL, where, *arguments(scans, output)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        # Tests that run in a shell's background ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert call.stdout.readline() == "halted\n", call.communicate()
        call.send_signal(sign)
        _, said = call.communicate(timeout=120)
    finally:
        call.kill()
    return call.returncode, said


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {LOCK_NAME}


def test_any_error_costs_its_scan_alone(tmp_path, scans, monkeypatch, capsys) -> None:
    read = pipeline.read_scan

    def failing(path, name):
        if name == "halt":
            raise ZeroDivisionError("a library's own")
        return read(path, name)

    monkeypatch.setattr(pipeline, "read_scan", failing)
    assert cli.main(arguments(scans, tmp_path)) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and "failed: 1 (halt)" in said
    failure = json.loads((tmp_path / "halt_failed.json").read_text())
    assert failure["error"] == (
        f"{scans[1]}: unforeseen error (ZeroDivisionError: a library's own)."
    )
    assert (tmp_path / "third_result.json").exists()
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    page = (tmp_path / "report.html").read_text()
    assert "This scan failed." in page and "ZeroDivisionError" in page and "third" in page

    monkeypatch.setattr(pipeline, "read_scan", read)
    assert cli.main(arguments(scans, tmp_path)) == 0
    assert not (tmp_path / "halt_failed.json").exists()


@pytest.mark.parametrize(
    ("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_the_same_command_goes_on(tmp_path, scans, sign, status, monkeypatch, capsys) -> None:
    ended, said = stop(sign, "predict", scans, tmp_path)
    assert ended == status and "Traceback" not in said
    finished = (tmp_path / "first_result.json").read_bytes()
    if sign is signal.SIGKILL:
        assert (tmp_path / ".halt.vertseg-partial").is_dir()
    else:
        assert "Stopped with 1 of 3 scans finished." in said
        assert not [name for name in names(tmp_path) if name.startswith(".")]
        assert "first" in (tmp_path / "report.html").read_text()

    predicted = []

    def counting(path, name, *rest):
        predicted.append(name)
        return pipeline.predict_scan(path, name, *rest)

    monkeypatch.setattr("vertseg.predict.batch.predict_scan", counting)
    assert cli.main(arguments(scans, tmp_path)) == 0
    assert predicted == ["halt", "third"]
    said = capsys.readouterr().err
    assert "first: kept from an earlier call" in said and "made alike" not in said
    assert (tmp_path / "first_result.json").read_bytes() == finished
    assert not [name for name in names(tmp_path) if name.startswith(".") or "failed" in name]
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in ("first", "halt", "third"))
    third = tmp_path / "third_result.json"
    third.write_text(json.dumps(json.loads(third.read_text()) | {"version": "0.1.0"}))
    assert cli.main(arguments(scans, tmp_path)) == 0
    assert "1 of 3 scans were predicted by vertseg 0.1.0, not by" in capsys.readouterr().err


def test_files_without_a_result_are_leftovers(tmp_path, scans) -> None:
    stop(signal.SIGKILL, "publish", scans[1:2], tmp_path)
    assert (tmp_path / "halt_preview.png").exists()
    assert not (tmp_path / "halt_result.json").exists()
    assert cli.main(arguments(scans[1:2], tmp_path)) == 0
    result = read_result(tmp_path / "halt_result.json")
    assert names(tmp_path) == {*result.outputs.values(), "halt_result.json", "report.html"}


def test_files_of_others_are_not_leftovers(tmp_path, scans, phantom, capsys) -> None:
    mask = tmp_path / "first_seg-vert_msk.nii.gz"
    nib.save(nib.Nifti1Image(phantom.mask, phantom.affine), mask)
    before = mask.read_bytes()
    assert cli.main(arguments(scans[:1], tmp_path)) == 1
    assert f"{mask}: was not written by vertseg predict" in capsys.readouterr().err
    assert mask.read_bytes() == before


def corrected(result: Path) -> bytes:
    """Content of a result that is made to state a correction."""
    content = json.loads(result.read_bytes())
    one = {"format": "vertseg-correction-1", "scan": "first", "mask_sha256": "0" * 64}
    content["corrections"] = [one | {"vertebrae": [{"label": 20, "becomes": 21}]}]
    result.write_text(json.dumps(content))
    return result.read_bytes()


def test_a_result_of_something_else_is_not_kept(
    tmp_path, scans, phantom, monkeypatch, capsys
) -> None:
    scan = tmp_path / "scans/first_ct.nii.gz"
    scan.parent.mkdir()
    shutil.copy(scans[0], scan)
    out = tmp_path / "out"
    assert cli.main(arguments([scan], out)) == 0
    before = (out / "first_result.json").read_bytes()

    def refused(call: list[str], reason: str) -> str:
        capsys.readouterr()
        assert cli.main(call) == 1
        said = capsys.readouterr().err
        assert reason in said and "--force" in said
        assert (out / "first_result.json").read_bytes() == before
        assert not (out / "first_failed.json").exists()
        assert "This scan failed." in (out / "report.html").read_text()
        return said

    refused(arguments(scans[:1], out), f"is of another scan, {scan}, not of {scans[0]}")
    refused(arguments([scan], out, "--decoding", "argmax"), "the decoding instances, not argmax")
    refused(arguments([scan], out, "--dicom-seg"), "made without --dicom seg")
    assert "reader" not in refused(arguments([scan], out, "--dicom-seg"), "--force")
    before = corrected(out / "first_result.json")
    refused(arguments([scan], out, "--dicom-seg"), "--force to predict the scan again, which repl")
    os.utime(scan, (1, 1))
    refused(arguments([scan], out), "which have changed since")
    known = oracle(phantom)
    other = Model(known.name, "1" * 64, known.runtime, known.trained, known.forward)
    monkeypatch.setattr("vertseg.segmentation.model.load_model", lambda *_: other)
    refused(arguments([scan], out), "made with another model, oracle")
    assert cli.main(arguments(scans[:1], out, "--force", "--no-report")) == 0
    said = capsys.readouterr().err
    assert "first_result.json: a new result replaces a reader's corrections." in said
    assert f"a new result, of {scans[0]}, replaces that of another scan, {scan}." in said
    assert "report.html: shows earlier results" in said
    assert cli.main(arguments(scans[:1], out, "--force")) == 0
    assert "WARNING" not in capsys.readouterr().err


def test_a_damaged_earlier_result_is_named(tmp_path, scans, capsys) -> None:
    assert cli.main(arguments(scans[:1], tmp_path, "--no-report")) == 0
    (tmp_path / "first_measures.csv").unlink()
    assert cli.main(arguments(scans[:1], tmp_path)) == 1
    assert "lacks its file first_measures.csv" in capsys.readouterr().err
    (tmp_path / "first_result.json").write_text("{")
    assert cli.main(arguments(scans[:1], tmp_path)) == 1
    assert "not JSON" in capsys.readouterr().err
    assert cli.main(arguments(scans[:1], tmp_path, "--force")) == 0


def test_one_call_at_a_time_writes_into_a_folder(tmp_path, scans, capsys) -> None:
    hold = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); "
        "lock.acquire(); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / LOCK_NAME], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert cli.main(arguments(scans[:1], tmp_path, "--force")) == 2
        assert "another call of vertseg predict" in capsys.readouterr().err
        assert names(tmp_path) == set()
        other.kill()
    assert cli.main(arguments(scans[:1], tmp_path)) == 0
    with FileLock(tmp_path / LOCK_NAME, blocking=False):
        pass


def test_a_name_that_is_not_utf8(tmp_path, scans) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff_ct.nii.gz"))
    shutil.copy(scans[0], odd)
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.nii"))
    bad.write_bytes(b"no image")
    out = tmp_path / "out"
    assert cli.main(arguments([odd, bad], out)) == 1
    assert cli.main(arguments([odd, bad], out)) == 1
    page = (out / "report.html").read_text("utf-8")
    assert r"odd\udcff_ct.nii.gz" in page and r"bad\udcff.nii" in page
    for name in ("odd_result.json", "bad_failed.json"):
        json.loads((out / name).read_text())["source"].encode("utf-8")


def test_names_that_are_too_long(tmp_path, scans, capsys) -> None:
    long = tmp_path / f"{'a' * 240}_ct.nii.gz"
    shutil.copy(scans[0], long)
    out = tmp_path / "out"
    assert cli.main(arguments([long, scans[2]], out)) == 1
    assert "Give the scan a shorter name" in (out / "report.html").read_text()
    assert "Traceback" not in capsys.readouterr().err
    assert (out / "third_result.json").exists()


def test_a_report_that_cannot_be_written(tmp_path, scans, monkeypatch, capsys) -> None:
    (tmp_path / "report.html").mkdir()
    assert cli.main(arguments(scans[:1], tmp_path)) == 2
    assert "report.html: is a folder" in capsys.readouterr().err
    (tmp_path / "report.html").rmdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vertseg.report.page.atomic_path", full)
    assert cli.main(arguments(scans[:1], tmp_path)) == 1
    said = capsys.readouterr().err
    assert "report.html: cannot be written (No space left on device)" in said
    assert "Traceback" not in said and (tmp_path / "first_result.json").exists()


def test_a_full_disk(tmp_path, scans, monkeypatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vertseg.predict.outputs.write_measures", full)
    monkeypatch.setattr("vertseg.predict.batch.write_failure", full)
    assert cli.main(arguments(scans[:2], tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("No space left on device") >= 2 and "Traceback" not in said
    assert names(tmp_path) == {"report.html"}


def test_outputs_in_a_scans_own_folder_do_not_change_it(tmp_path) -> None:
    from vertseg.predict.earlier import source_state

    (tmp_path / "1.dcm").write_bytes(b"1")
    before = source_state(tmp_path)
    (tmp_path / "out/.x.vertseg-partial").mkdir(parents=True)
    for name in ("x_result.json", "x_preview.png", "report.html", ".x.vertseg-partial/a"):
        (tmp_path / "out" / name).touch()
    assert source_state(tmp_path) == before
    slice_before = source_state(tmp_path / "1.dcm")
    (tmp_path / "2.dcm").write_bytes(b"2")
    assert source_state(tmp_path) != before
    assert source_state(tmp_path / "1.dcm") != slice_before


MHD = """NDims = 3
DimSize = 2 2 2
ElementType = MET_SHORT
ElementSpacing = 1 1 1
ElementDataFile = {}
"""
NRRD = """NRRD0004
type: short
endian: little
dimension: 3
sizes: 2 2 2
spacings: 1 1 1
encoding: raw
data file: {}
"""


@pytest.mark.parametrize(
    ("header", "text", "value", "parts"),
    [
        ("scan.mhd", MHD, "voxels.raw", ["voxels.raw"]),
        ("scan.mha", MHD, "some voxels.zraw", ["some voxels.zraw"]),
        ("scan.mhd", MHD, "LIST\na.raw\nb.raw", ["a.raw", "b.raw"]),
        ("scan.mhd", MHD, "slice%02d.raw 7 8 1", ["slice07.raw", "slice08.raw"]),
        ("scan.nhdr", NRRD, "parts/voxels.raw", ["parts/voxels.raw"]),
        ("scan.nrrd", NRRD, "voxels.raw", ["voxels.raw"]),
        ("scan.nhdr", NRRD, "LIST\na.raw\nb.raw", ["a.raw", "b.raw"]),
        ("scan.nhdr", NRRD, "slice%d.raw 7 8 1", ["slice7.raw", "slice8.raw"]),
    ],
)
def test_a_scan_changes_with_every_data_file_that_its_header_names(
    tmp_path: Path, header: str, text: str, value: str, parts: list[str]
) -> None:
    from vertseg.predict.earlier import source_state
    from vertseg.scans.read import read_scan

    scan = tmp_path / header
    scan.write_text(text.format(value))
    (tmp_path / "parts").mkdir()
    for part in parts:
        (tmp_path / part).write_bytes(b"\0" * (16 // len(parts)))
    with pytest.raises(UserError, match="all voxels"):  # read, and no CT
        read_scan(scan)
    (tmp_path / "scan.json").touch()
    (tmp_path / "other.raw").touch()
    states = [source_state(scan)]
    for part in parts:
        os.utime(tmp_path / part, ns=(1, 1))
        states.append(source_state(scan))
    (tmp_path / "other.raw").write_bytes(b"1")
    assert source_state(scan) == states[-1]
    (tmp_path / parts[0]).unlink()
    states.append(source_state(scan))
    assert len(set(states)) == len(states)
    with pytest.raises(UserError, match=f"its data file {Path(parts[0]).name} is missing"):
        read_scan(scan)


@pytest.mark.parametrize("text", ["", "NDims = 3", MHD.format("LIST"), MHD.format("s%d.raw 1 9 0")])
def test_a_scan_with_a_damaged_header_stands_for_itself(tmp_path: Path, text: str) -> None:
    from vertseg.scans.data_files import files_of_image

    for suffix in (".mhd", ".nhdr"):
        scan = tmp_path / f"scan{suffix}"
        scan.write_text(text)
        assert files_of_image(scan) == [scan]


def test_temporary_files_are_beside_the_outputs(tmp_path, scans, monkeypatch) -> None:
    import tempfile

    read = pipeline.read_scan
    seen = []

    def looking(path, name):
        with tempfile.TemporaryDirectory() as folder:
            seen.append(Path(folder))
        return read(path, name)

    monkeypatch.setattr(pipeline, "read_scan", looking)
    before = tempfile.gettempdir()
    assert cli.main(arguments(scans[:1], tmp_path)) == 0
    assert seen[0].is_relative_to(tmp_path / ".first.vertseg-partial")
    assert tempfile.gettempdir() == before
    assert np.asanyarray(nib.load(tmp_path / "first_seg-vert_msk.nii.gz").dataobj).any()
