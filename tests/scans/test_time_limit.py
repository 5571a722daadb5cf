import contextlib
import signal
import threading
from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.scans import read, time_limit
from vertseg.scans.time_limit import limited_time


def endless() -> None:
    """Work without an end in a library that takes any exception for a damaged element."""
    while True:
        with contextlib.suppress(Exception):
            sum(range(1000))


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(time_limit, "LEAST_S", 0.05)


def test_endless_work_ends_in_a_named_error(tmp_path: Path, short) -> None:
    named = f"{tmp_path}: reading takes over 0 s of processor time"
    with pytest.raises(UserError, match=named), limited_time(tmp_path):
        endless()


def test_reading_a_scan_is_limited(tmp_path: Path, short, monkeypatch) -> None:
    (tmp_path / "a.zip").touch()
    monkeypatch.setattr(read, "_read_archived_image", lambda path: endless())
    with pytest.raises(UserError, match=r"a\.zip: reading takes over"):
        read.read_scan(tmp_path / "a.zip")


def test_the_limit_grows_with_the_files(tmp_path: Path, monkeypatch) -> None:
    limits: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: limits.append(seconds))
    (tmp_path / "below").mkdir()
    for name, mib in (("a.mhd", 1), ("a.raw", 2), ("below/b", 4)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(mib << 20)
    for path in (tmp_path / "below", tmp_path):
        with limited_time(path):
            pass
    assert limits == pytest.approx([120.8, 0, 121.4, 0])
    with limited_time(tmp_path / "a.mhd"):
        pass
    assert limits[4] > 120.6


def test_the_limit_ends_with_the_block(tmp_path: Path, short) -> None:
    before = signal.getsignal(signal.SIGPROF)
    with limited_time(tmp_path):
        pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getsignal(signal.SIGPROF) == before


def test_another_thread_reads_without_a_limit(tmp_path: Path) -> None:
    done = []

    def work() -> None:
        with limited_time(tmp_path):
            done.append(signal.getitimer(signal.ITIMER_PROF))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [(0, 0)]
