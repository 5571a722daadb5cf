import io
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.scans.zips import DATA_SET, DICOM, IMAGE, Limits, open_zip

FILES = {"scan/1": b"first", "scan/2": b"0123456789" * 30_000, "scan/empty": b""}
CLUTTER = {
    "__MACOSX/scan/._1": b"x",
    "scan/._1": b"x",
    "scan/.DS_Store": b"x",
    ".hidden/1": b"x",
    "scan/.hidden": b"x",
}

PRESETS = pytest.mark.parametrize(
    "limits", [DATA_SET, IMAGE, DICOM], ids=["data", "image", "dicom"]
)


def zipped(
    path: Path, files: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return zipped(tmp_path / "a.zip", FILES | CLUTTER)


def refusal(path: Path, limits: Limits = IMAGE) -> str:
    with pytest.raises(UserError) as caught, open_zip(path, limits) as archive:
        for name in archive.names():
            archive.read(name)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def stating(path: Path, name: str, size: int) -> Path:
    """The archive, whose headers state another size of a file."""
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        local, entry = archive.getinfo(name).header_offset, archive.start_dir
    while raw[entry + 46 : entry + 46 + len(name)] != name.encode():
        entry = raw.index(b"PK\x01\x02", entry + 1)
    for place in (local + 22, entry + 24):
        raw[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(raw)
    return path


@PRESETS
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_listed_and_read_without_clutter(
    tmp_path: Path, limits: Limits, method: int
) -> None:
    path = zipped(tmp_path / "a.zip", FILES | CLUTTER, method)
    with open_zip(path, replace(limits, expansion=1000)) as archive:
        assert archive.path == path
        assert archive.names() == sorted(FILES)
        assert {name: archive.size(name) for name in FILES} == {
            "scan/1": 5, "scan/2": 300_000, "scan/empty": 0,
        }  # fmt: skip
        assert {name: archive.read(name) for name in FILES} == FILES


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_is_read_and_sought_as_any_other(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "a.zip", FILES, method)
    expected = io.BytesIO(FILES["scan/2"])
    with open_zip(path, replace(IMAGE, expansion=1000)) as archive, archive.open("scan/2") as file:
        for step in (
            lambda f: f.read(132),
            lambda f: f.seek(0),
            lambda f: f.read(7),
            lambda f: f.seek(200_003),
            lambda f: f.read(100),
            lambda f: f.seek(-11, io.SEEK_CUR),
            lambda f: f.tell(),
            lambda f: f.read(20),
            lambda f: f.seek(-3, io.SEEK_END),
            lambda f: f.read(),
            lambda f: f.seek(1),
            lambda f: f.read(),
            lambda f: f.read(1),
        ):
            assert step(file) == step(expected)


def test_folders_do_not_count(tmp_path: Path) -> None:
    with open_zip(zipped(tmp_path / "a.zip", {"scan/": b"", "scan/1": b"x"}), IMAGE) as archive:
        assert archive.names() == ["scan/1"]


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.zip").endswith("cannot be read (No such file or directory).")
    (tmp_path / "a.zip").write_text("<html>")
    assert "not a complete zip archive (File is not a zip file). Copy" in refusal(
        tmp_path / "a.zip"
    )
    assert refusal(tmp_path / "a.zip", DATA_SET).endswith("it will be downloaded anew.")


def flipped(content: bytes) -> Iterator[bytes]:
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_byte_is_an_error_or_does_not_matter(tmp_path: Path, method: int) -> None:
    files = {"a.nii": b"0123456789" * 5}
    path = zipped(tmp_path / "a.zip", files, method)
    errors = 0
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        try:
            with open_zip(path, IMAGE) as archive:
                assert [archive.read(name) for name in archive.names()] in ([], [files["a.nii"]])
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            errors += 1
    assert errors > 50


def test_a_cut_archive_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:length])
        assert "not a complete zip archive" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("size", "reason"), [(299_999, "more than the 299999 bytes"), (300_001, "300000 of the 300001")]
)
def test_a_size_that_lies_is_found_out(tmp_path: Path, method: int, size: int, reason: str) -> None:
    path = stating(zipped(tmp_path / "a.zip", FILES, method), "scan/2", size)
    assert f"scan/2 is damaged ({reason}" in refusal(path, replace(IMAGE, expansion=1000))


def test_a_longer_file_is_found_out_even_if_the_checksum_fits_its_start(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a": b"x" * 9000}, zipfile.ZIP_DEFLATED)
    stating(path, "a", 10)
    raw = path.read_bytes()
    crcs = (zipfile.crc32(b"x" * length).to_bytes(4, "little") for length in (9000, 10))
    path.write_bytes(raw.replace(*crcs))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a") == b"x" * 10
    assert "a is damaged (" in refusal(path)


def test_a_file_may_be_as_large_as_the_limit(path: Path) -> None:
    with open_zip(path, replace(IMAGE, member_bytes=300_000, members=len(FILES | CLUTTER))):
        pass
    message = refusal(path, replace(IMAGE, member_bytes=299_999))
    assert "holds 8 files, the largest of 300000 bytes: too much for one scan. Unpack" in message
    message = refusal(path, replace(DATA_SET, members=7))
    assert "holds 8 files, the largest of 300000 bytes: too much for a data set. Name" in message


def test_expansion_is_bounded(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a": bytes(5000)}, zipfile.ZIP_DEFLATED)
    size = path.stat().st_size
    ratio = 5000 / size
    with open_zip(path, replace(IMAGE, expansion=int(ratio) + 1)):
        pass
    message = refusal(path, replace(IMAGE, expansion=int(ratio)))
    assert f"not read in place: {size} bytes would become 1 files of 5000 bytes. Unpack" in message
    message = refusal(path, replace(DATA_SET, expansion=int(ratio)))
    assert f"not safe to unpack: {size} bytes would become 1 files of 5000 bytes. Name" in message


@PRESETS
def test_encrypted_archives_are_refused(path: Path, limits: Limits) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert f"the archive is encrypted. {limits.if_refused}" in refusal(path, limits)


def special(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("scan/special")
    info.external_attr = (kind | 0o777) << 16
    return info


@PRESETS
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_special_files_are_refused(tmp_path: Path, limits: Limits, kind: int) -> None:
    path = zipped(tmp_path / "a.zip", {"1": b"x", special(kind): b"/etc/hostname"})
    assert "\n  'scan/special': a link or special file\n" in refusal(path, limits)


def test_methods_without_a_bound_are_refused(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = zipped(tmp_path / "a.zip", {"a.nii": b"x"}, method)
        assert re.search(rf"'a.nii': compressed by method {method}; only 0", refusal(path))


@pytest.mark.parametrize("name", ["../1", "/1", "a/../../1", "C:1", "a\\1", "a\nb"])
def test_paths_matter_where_they_become_files(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", {name: b"x"})
    for limits in (IMAGE, DICOM):
        with open_zip(path, limits) as archive:
            assert archive.read(name) == b"x"
    assert f"not safe to unpack:\n  {name!r}: " in refusal(path, DATA_SET)


@PRESETS
def test_two_files_of_one_name_are_refused(tmp_path: Path, limits: Limits) -> None:
    path = zipped(tmp_path / "a.zip", {"1": b"x"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("1", b"y")
    assert "several members have one name" in refusal(path, limits)
