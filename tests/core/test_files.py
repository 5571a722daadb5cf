import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from vertseg.core.files import atomic_path, write_json, write_text


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
