"""Compressed slices are decoded within limits; damaged ones end in a UserError that says why."""

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from dicom_series import compress_with_itk, ct_slices, save_slices
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames

from vertseg.core.errors import UserError
from vertseg.scans.dicom import gdcm
from vertseg.scans.dicom.series import read_series

SIDE = 256
JPEG_2000_SIZES = slice(8, 16)
"""Xsiz and Ysiz behind the markers SOC and SIZ, Lsiz and Rsiz (ISO/IEC 15444-1, A.5.1)."""


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> list[Dataset]:
    ct = np.random.default_rng(0).integers(-1000, 1500, (SIDE, SIDE, 2)).astype(np.int16)
    made = ct_slices(ct, np.diag([0.8, 0.8, 2.0, 1.0]))
    compress_with_itk(made, "JPEG2000", tmp_path_factory.mktemp("itk"))
    return made


def saved(folder: Path, slices: list[Dataset], voxels: bytes | None = None) -> Path:
    """The series in a folder, with other compressed voxels in its second file."""
    save_slices(folder, slices, shuffled=False)
    path = folder / "IM0001.dcm"
    if voxels is not None:
        whole = path.read_bytes()
        assert whole.count(slices[1].PixelData) == 1
        path.write_bytes(whole.replace(slices[1].PixelData, voxels))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_series(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "IM0001.dcm" in str(caught.value)
    return str(caught.value)


def codestream(dataset: Dataset) -> bytearray:
    return bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))


@pytest.mark.parametrize(
    ("place", "byte", "reason"),
    [
        (0, 0xFF, "Unexpected tag"),
        (4, 0x08, "Unexpected tag"),
        (11, 0x00, "Unexpected tag"),
        (15, 0x7F, "end early"),
        (15, 0xFF, "end early"),
    ],
)
def test_fragments_that_do_not_follow_each_other_are_refused_undecoded(
    tmp_path: Path, monkeypatch, slices: list[Dataset], place: int, byte: int, reason: str
) -> None:
    # GDCM would search for fragments byte by byte, for 5 to 20 s a slice.
    voxels = bytearray(slices[1].PixelData)
    voxels[place] = byte
    monkeypatch.setattr(gdcm.Decoder, "_answer", lambda *question: np.zeros((1, SIDE, SIDE)))
    assert reason in refusal(saved(tmp_path / "scan", slices, bytes(voxels)))


def test_a_slice_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch, slices) -> None:
    monkeypatch.setattr(gdcm, "LEAST_S", 0.001)
    monkeypatch.setattr(gdcm, "S_PER_MIB", 0.0)
    folder = saved(tmp_path / "scan", slices)
    with pytest.raises(UserError, match=r"IM0000.dcm is damaged \(decoding it took over 0.001 s\)"):
        read_series(folder)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "GDCM ended with status -6"),
        ("raise SystemExit(3)", "GDCM ended with status 3"),
        ("input(); print()", "GDCM ended with status 0"),
    ],
)
def test_a_decoder_that_crashes_costs_the_scan_alone(
    tmp_path: Path, monkeypatch, slices, program: str, reason: str
) -> None:
    (tmp_path / "decoder.py").write_text(program)
    folder = saved(tmp_path / "scan", slices)
    with monkeypatch.context() as patch, pytest.raises(UserError, match=reason):
        patch.setattr(gdcm, "_DECODER", tmp_path / "decoder.py")
        read_series(folder)
    assert read_series(folder)[0].array.shape == (SIDE, SIDE, 2)


def test_a_codestream_that_states_huge_sides_is_refused(tmp_path: Path, slices) -> None:
    stream = codestream(slices[1])
    assert stream[JPEG_2000_SIZES] == SIDE.to_bytes(4, "big") * 2
    stream[JPEG_2000_SIZES] = (60_000).to_bytes(4, "big") * 2
    start = time.monotonic()
    refusal(saved(tmp_path / "scan", slices, encapsulate([bytes(stream)])))
    assert time.monotonic() - start < 60


def test_no_process_stays_when_a_series_is_read_or_refused(tmp_path: Path, slices) -> None:
    before = psutil.Process().children()
    cut = bytes(codestream(slices[1])[:50])
    refusal(saved(tmp_path / "cut", slices, encapsulate([cut])))
    assert psutil.Process().children() == before
