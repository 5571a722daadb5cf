import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path, ends_sha256, walk_files, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.csv"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.b_ct.nii.gz", ".nii.gz"), ("sub-1.2_x.png", ".png"), ("plain", "")]
)
def test_the_temporary_name_keeps_the_format(tmp_path: Path, name: str, suffix: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name.endswith(suffix)
        temporary.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
    assert (tmp_path / name).stat().st_mode & 0o400


def test_json_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1]})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": [\n    1\n  ]\n}\n'


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "scan_ct.nii.gz"
    code = (
        "import os, signal, sys; from vertseg.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, target], cwd=ROOT, check=False)
    [leftover] = tmp_path.iterdir()
    other = tmp_path / leftover.name.replace("scan_ct", "scan2_ct")
    other.touch()
    with atomic_path(target) as first, atomic_path(target) as second:
        assert not leftover.exists() and first.exists() and second.exists()
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"
    assert set(tmp_path.iterdir()) == {target, other}


def test_a_walk_follows_links_and_enters_each_folder_once(tmp_path: Path) -> None:
    for name in ("root/b/x", "root/.hidden/x", "root/b/.y", "elsewhere/z"):
        write_text(tmp_path / name, "")
    root = tmp_path / "root"
    for link, target in (("a", root / "b"), ("c", tmp_path / "elsewhere"), ("d", tmp_path),
                         ("b/loop", root), ("file", tmp_path / "elsewhere/z")):  # fmt: skip
        (root / link).symlink_to(target)
    os.mkfifo(root / "pipe")
    walked = {folder.relative_to(root).as_posix(): names for folder, names in walk_files(root)}
    assert walked == {".": ["file"], "b": ["x"], "c": ["z"]}
    assert [folder for folder, _ in walk_files(root, deep=False)] == [root]
    assert {folder for folder, _ in walk_files(root, left_out=root / "b")} == {root, root / "c"}
    assert len(list(walk_files(root, left_out=tmp_path))) == 3
    (root / "b/dead").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"b/dead: a link to .*gone, which is missing"):
        list(walk_files(root))


def test_a_walk_names_folders_that_cannot_be_read(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"absent: cannot be read"):
        list(walk_files(tmp_path / "absent"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        list(walk_files(tmp_path))


def test_a_glance_sees_any_edit_of_a_compressed_file(tmp_path: Path) -> None:
    """Of equal size, too; whatever its name and date."""
    content = np.random.default_rng(0).bytes(200_000)
    sums = set()
    for index in (None, 0, 100_000, 199_999):
        edited = bytearray(content)
        if index is not None:
            edited[index] ^= 1
        path = tmp_path / f"{index}.gz"
        path.write_bytes(gzip.compress(edited, 0, mtime=0))
        sums.add(ends_sha256(path))
        assert path.stat().st_size == (tmp_path / "None.gz").stat().st_size
    assert len(sums) == 4
    copy = tmp_path / "copy.gz"
    shutil.copy(tmp_path / "0.gz", copy)
    os.utime(copy, (1, 1))
    assert ends_sha256(copy) == ends_sha256(tmp_path / "0.gz")
