"""Damaged files are refused by name, and never read as other voxels."""

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from orientations import oblique_affine

from vertseg.core.errors import UserError
from vertseg.scans import data_files, volumes
from vertseg.scans.itk import load_itk_ct
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.read import read_scan
from vertseg.scans.volumes import Geometry, Volume

SHAPE = (12, 10, 8)
CT = np.random.default_rng(0).integers(-1000, 1500, SHAPE).astype(np.int16)
VOXELS = CT.tobytes(order="F")

MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = {}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 3 -4 5\n"
    "ElementSpacing = 0.7 0.8 2.5\nDimSize = 12 10 8\nElementType = MET_SHORT\n"
    "ElementDataFile = LOCAL\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 10 8\n"
    "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\nendian: little\nencoding: {}\n"
    "space origin: (3,-4,5)\n\n"
)


def nifti() -> bytes:
    image = nib.Nifti1Image(CT, oblique_affine())
    image.set_sform(oblique_affine(), 1)
    image.set_qform(oblique_affine(), 1)
    return image.to_bytes()


COMPRESSED: dict[str, tuple[bytes, bytes]] = {
    "scan.nii.gz": (b"", gzip.compress(nifti(), mtime=0)),
    "zlib.mha": (MHA.format(True).encode(), zlib.compress(VOXELS)),
    "gzip.mha": (MHA.format(True).encode(), gzip.compress(VOXELS, mtime=0)),
    "gzip.nrrd": (NRRD.format("gzip").encode(), gzip.compress(VOXELS, mtime=0)),
    "bzip2.nrrd": (NRRD.format("bzip2").encode(), bz2.compress(VOXELS)),
}
"""Header and compressed part of files."""

PLAIN: dict[str, tuple[bytes, int]] = {
    "scan.nii": (nifti(), 352),
    "scan.mha": (MHA.format(False).encode() + VOXELS, len(MHA.format(False))),
    "scan.nrrd": (NRRD.format("raw").encode() + VOXELS, len(NRRD.format("raw"))),
}
"""Files without compression, and the lengths of their headers."""


def loaded(path: Path) -> Volume:
    return load_ct(path) if ".nii" in path.name else load_itk_ct(path)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def truth(volume: Volume) -> bool:
    return volume.array.shape == SHAPE and bool(np.array_equal(np.sort(volume.array, None), SORTED))


SORTED = np.sort(CT, None)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_flipped_bit_in_a_compressed_stream_never_gives_other_voxels(
    tmp_path: Path, name: str
) -> None:
    header, packed = COMPRESSED[name]
    path = tmp_path / name
    path.write_bytes(header + packed)
    whole = loaded(path)
    assert truth(whole)
    # Some bits of the headers of gzip (time, system) and deflate's padding mean nothing.
    refused = 0
    bits = np.random.default_rng(1).integers(0, len(packed) * 8, 80)
    for bit in bits:
        path.write_bytes(header + flipped(packed, int(bit)))
        try:
            volume = loaded(path)
        except UserError as error:
            assert name in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(volume.array, whole.array)
    assert refused >= 74


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_wrong_checksum_or_a_missing_end_is_refused(tmp_path: Path, name: str) -> None:
    header, packed = COMPRESSED[name]
    path = tmp_path / name
    # Adler-32 and the CRC of gzip and bzip2 lie in the last 10 bytes.
    for content in (flipped(packed, len(packed) * 8 - 60), packed[:-1], packed[:-5], packed[:-9]):
        path.write_bytes(header + content)
        with pytest.raises(UserError, match=f"{name}: cannot be read .*copy or download it again"):
            loaded(path)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_mask_or_ct_behind_a_wrong_checksum_is_refused_by_all_readers(
    tmp_path: Path, name: str
) -> None:
    header, packed = COMPRESSED[name]
    path = tmp_path / name
    path.write_bytes(header + flipped(packed, len(packed) * 8 - 60))
    with pytest.raises(UserError, match=name):
        read_scan(path)
    if ".nii" in name:
        with pytest.raises(UserError, match=name):
            load_mask(path, Geometry(SHAPE, oblique_affine()))


@pytest.mark.parametrize("name", PLAIN)
def test_damaged_headers_raise_named_errors_alone(tmp_path: Path, name: str) -> None:
    content, length = PLAIN[name]
    path = tmp_path / name
    rng = np.random.default_rng(2)
    read = 0
    for _ in range(200):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(0, length)
            changed[place] = rng.choice(
                [changed[place] ^ 1 << rng.integers(0, 8), rng.integers(0, 256), 0x39, 0xFF]
            )
        path.write_bytes(changed)
        try:
            loaded(path)
            read += 1
        except UserError as error:
            assert name in str(error)
    assert 0 < read < 200


FIELDS = {
    "scan.mha": MHA.format(False).splitlines(),
    "scan.nrrd": NRRD.format("raw").splitlines()[1:-1],
}
VALUES = ["", "0", "-1", "1e30", "nan", "999999999999", "3 3", "(1,0)", "True", "x" * 5000]


@pytest.mark.parametrize("name", FIELDS)
def test_any_value_of_any_field_is_read_or_refused_by_name(tmp_path: Path, name: str) -> None:
    content, _ = PLAIN[name]
    path = tmp_path / name
    for line in FIELDS[name]:
        key, mark = (line.split("=")[0], "=") if "=" in line else (line.split(":")[0], ":")
        for value in VALUES:
            path.write_bytes(content.replace(line.encode(), f"{key}{mark} {value}".encode(), 1))
            try:
                loaded(path)
            except UserError as error:
                assert name in str(error)
        path.write_bytes(content.replace(line.encode() + b"\n", b"", 1))
        try:
            loaded(path)
        except UserError as error:
            assert name in str(error)


def headers_asking_for(sides: tuple[int, int, int]) -> dict[str, bytes]:
    header = nib.Nifti1Image(CT, np.eye(4)).header.copy()
    header["dim"][1:4] = sides
    header.set_data_offset(352)
    header.set_data_dtype(np.float64)
    text = " ".join(map(str, sides))
    return {
        "scan.nii": header.binaryblock + bytes(1000),
        "scan.mha": MHA.format(False).replace("12 10 8", text).encode() + bytes(1000),
        "scan.nrrd": NRRD.format("raw").replace("12 10 8", text).encode() + bytes(1000),
    }


@pytest.mark.parametrize("name", PLAIN)
def test_extent_and_size_are_bounded_before_memory_is_asked_for(
    tmp_path: Path, monkeypatch, name: str
) -> None:
    path = tmp_path / name
    monkeypatch.setattr(np, "empty", lambda *args, **options: pytest.fail("memory asked for"))
    path.write_bytes(headers_asking_for((32000, 32000, 32000))[name])
    with pytest.raises(UserError, match=rf"{name}: the header asks for \d+ voxels.*16 GiB"):
        loaded(path)
    path.write_bytes(headers_asking_for((9000, 200, 200))[name])
    with pytest.raises(UserError, match=f"{name}: voxels of .* not those of a patient"):
        loaded(path)


def test_the_bound_on_the_size_is_the_same_for_all_formats(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(volumes, "MOST_BYTES", 100)
    for name, (content, _) in PLAIN.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="the header asks for 960 voxels of 2 bytes"):
            loaded(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "suffix", "other"),
    [("scan.nii", ".nii", ".nii.gz"), ("scan.nii.gz", ".nii.gz", ".nii")],
)
def test_a_name_that_contradicts_the_content_is_refused_with_the_right_advice(
    tmp_path: Path, name: str, suffix: str, other: str
) -> None:
    content = nifti() if suffix == ".nii.gz" else gzip.compress(nifti())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UserError, match=f"{name}: .*Rename it: {other} instead of {suffix}"
    ) as told:
        loaded(tmp_path / name)
    assert "truncated" not in str(told.value)


def test_bytes_after_the_voxels_do_no_harm_up_to_a_bound(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "scan.nii.gz"
    packed = gzip.compress(nifti() + bytes(5000))
    for content in (packed, packed + bytes(512), gzip.compress(nifti()) + gzip.compress(b"more")):
        path.write_bytes(content)
        assert truth(load_ct(path))
    path.write_bytes(packed + b"other bytes")
    with pytest.raises(UserError, match="cannot be read"):
        load_ct(path)
    monkeypatch.setattr("vertseg.scans.streams._MOST_EXTRA", 4000)
    path.write_bytes(packed)
    with pytest.raises(UserError, match="follow the voxels"):
        load_ct(path)
    (tmp_path / "scan.nii").write_bytes(nifti() + bytes(5000))
    assert truth(load_ct(tmp_path / "scan.nii"))


@pytest.mark.parametrize("name", ["zlib.mha", "gzip.nrrd"])
def test_more_voxels_than_the_header_states_are_refused(tmp_path: Path, name: str) -> None:
    header, packed = COMPRESSED[name]
    path = tmp_path / name
    path.write_bytes(header.replace(b"12 10 8", b"12 10 7") + packed)
    with pytest.raises(UserError, match="240 bytes longer than the header states"):
        loaded(path)


@pytest.fixture
def pipe(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.zip", "a.dcm", "a"])
def test_pipes_are_not_opened(pipe: Callable[[str], Path], name: str) -> None:
    path = pipe(name)
    with pytest.raises(UserError, match="a pipe, device or socket, not a regular file"):
        read_scan(path)
    with pytest.raises(UserError, match="a pipe, device or socket, not a regular file"):
        load_ct(path)


def test_a_pipe_as_data_file_is_not_opened(tmp_path: Path, pipe: Callable[[str], Path]) -> None:
    pipe("voxels.raw")
    (tmp_path / "a.mhd").write_text(MHA.format(False).replace("LOCAL", "voxels.raw"))
    (tmp_path / "a.nhdr").write_text(NRRD.format("raw").strip() + "\ndata file: voxels.raw\n")
    for name in ("a.mhd", "a.nhdr"):
        with pytest.raises(UserError, match=f"{name}: its data file voxels.raw is missing or not"):
            load_itk_ct(tmp_path / name)


def test_impossible_names_are_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 300 + ".nii"), f"{tmp_path}/a\0b.nii"):
        with pytest.raises(UserError, match="no such file"):
            read_scan(path)


def test_data_files_are_as_many_as_the_header_needs(tmp_path: Path, monkeypatch) -> None:
    names = [f"slice{index}.raw" for index in range(8)]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(CT[:, :, index].tobytes(order="F"))
    start = MHA.format(False).replace("LOCAL", "LIST")
    path = tmp_path / "a.mhd"
    path.write_text(start + "\n".join(names))
    assert truth(load_itk_ct(path))
    for count in (0, 4):
        path.write_text(start + "\n".join(names[:count]))
        with pytest.raises(UserError, match=f"{count} data files for"):
            load_itk_ct(path)
    monkeypatch.setattr(data_files, "MOST_FILES", 5)
    path.write_text(start + "\n".join(names))
    with pytest.raises(UserError, match="names 8 data files"):
        load_itk_ct(path)
