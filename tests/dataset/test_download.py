"""VerSe's archives from a server on this machine: download, inventory, unpacking, verification."""

import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, copy_workflow, failing_snakemake, snakemake
from verse_files import SCANS, verse_files
from verse_server import VerseServer, running_server, zipped

from vertseg.core import progress as bulk
from vertseg.core.errors import UserError
from vertseg.core.progress import byte_progress, require_space
from vertseg.dataset import archives
from vertseg.dataset.archives import check_archive, extract
from vertseg.dataset.download import Patience, fetch, part_path
from vertseg.dataset.samples import listed_verse_samples
from vertseg.dataset.verse import (
    archived_scans,
    check_inventory,
    check_same_as_before,
    read_manifest,
    read_source,
    updated_sheet,
    verify,
    write_manifest,
)

HASTY = Patience(retries=2, backoff_s=0.01, longest_pause_s=0.05, timeout_s=2)
PATH = "dataset-verse20training.zip"


def accept_anything(path: Path) -> None:
    pass


def verse_archive(top: str = "dataset-01training/", scans: dict[str, str] = SCANS) -> bytes:
    """An archive as VerSe's: top folder, sidecars, stray masks, what macOS leaves behind."""
    files = {top + name: content for name, content in verse_files(scans).items()}
    stray = f"{top}derivatives/sub-verse588/sub-verse588_seg-subreg_msk.nii.gz"
    clutter = {
        f"{top}rawdata/sub-gl003/._sub-gl003_dir-ax_ct.nii.gz": b"\0\5\x16\7",
        f"__MACOSX/{top}rawdata/sub-gl003/._sub-gl003_dir-ax_ct.nii.gz": b"\0\5\x16\7",
        f"{top}.DS_Store": b"Bud1",
    }
    sidecar = {f"{top}rawdata/sub-gl003/sub-gl003_dir-ax_ct.json": b"{}", stray: b"stray"}
    return zipped(files | sidecar | clutter)


def sheet_of(path: Path, scans: dict[str, str] = SCANS) -> Path:
    rows = [f"{scan}\t{scan.split('_')[0]}\ttraining\n" for scan in scans]
    path.write_text("scan\tsubject\tsplit\n" + "".join(rows))
    return path


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[VerseServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def body(server: VerseServer) -> bytes:
    """Two megabytes at PATH."""
    server.files[PATH] = np.random.default_rng(1).bytes(2_000_000)
    return server.files[PATH]


def get(server: VerseServer, target: Path, patience: Patience = HASTY, **options) -> bytes:
    fetch([server.url(PATH)], target, accept_anything, patience, **options)
    return target.read_bytes()


# Download


def test_a_whole_file_and_nothing_else(server, body, tmp_path) -> None:
    target = tmp_path / "new/training.zip"
    assert get(server, target) == body
    assert list(target.parent.iterdir()) == [target]
    assert [request.range for request in server.requests] == [None]


@pytest.mark.parametrize("validators", [True, False])
def test_a_dropped_connection_goes_on_where_it_broke(server, body, tmp_path, validators) -> None:
    server.faults.drop_after = [700_000, 300_000]
    server.faults.validators = validators
    assert get(server, tmp_path / "a.zip") == body
    offsets = [int(request.range[6:-1]) for request in server.requests[1:]]
    assert len(offsets) == 2
    assert 500_000 < offsets[0] <= 700_000 < offsets[1] <= 1_000_000
    assert {request.if_range for request in server.requests[1:]} == {'"v1"' if validators else None}


def slow_download(server: VerseServer, target: Path) -> subprocess.Popen:
    """A process that has received a fifth of the file and goes on."""
    part = part_path(target, server.url(PATH))
    server.faults.bytes_per_s = 1_500_000
    program = (
        "import sys; from pathlib import Path; from vertseg.dataset.download import fetch\n"
        "fetch([sys.argv[1]], Path(sys.argv[2]), lambda path: None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, server.url(PATH), str(target)], cwd=ROOT
    )
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 400_000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    return process


def test_a_killed_download_goes_on(server, body, tmp_path) -> None:
    target = tmp_path / "training.zip"
    part = part_path(target, server.url(PATH))
    process = slow_download(server, target)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()
    kept = part.stat().st_size
    assert 400_000 < kept < len(body)
    assert part.read_bytes() == body[:kept]
    server.faults.bytes_per_s = None
    assert get(server, target) == body
    assert server.requests[-1].range == f"bytes={kept}-"
    assert list(tmp_path.iterdir()) == [target]


def test_two_processes_do_not_write_one_file(server, body, tmp_path) -> None:
    target = tmp_path / "training.zip"
    process = slow_download(server, target)
    server.faults.bytes_per_s = None
    with pytest.raises(UserError, match="another process is downloading"):
        get(server, target)
    assert process.wait(20) == 0
    assert target.read_bytes() == body


def interrupted(server: VerseServer, target: Path, at: int = 900_000) -> Path:
    """A download that broke and was given up; the path of what it left."""
    server.faults.drop_after = [at, 0, 0, 0, 0]
    with pytest.raises(UserError, match="no mirror serves this file"):
        get(server, target)
    server.faults.drop_after = []
    server.requests.clear()
    part = part_path(target, server.url(PATH))
    assert 0 < part.stat().st_size <= at
    return part


def test_a_server_without_ranges_starts_anew(server, body, tmp_path) -> None:
    interrupted(server, tmp_path / "a.zip")
    server.faults.ranges = False
    assert get(server, tmp_path / "a.zip") == body
    assert len(server.requests) == 1


def test_a_stream_of_unknown_length_starts_anew(server, body, tmp_path) -> None:
    server.faults.length = False
    server.faults.drop_after = [900_000]
    assert get(server, tmp_path / "a.zip") == body
    assert [request.range for request in server.requests] == [None, None]


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "no If-Range"])
@pytest.mark.parametrize("size", [1_900_000, 2_000_000, 500_000], ids=["less", "same", "tiny"])
def test_parts_of_two_versions_are_never_joined(server, body, tmp_path, if_range, size) -> None:
    interrupted(server, tmp_path / "a.zip")
    server.files[PATH] = np.random.default_rng(2).bytes(size)
    server.version = 2
    server.faults.if_range = if_range
    assert get(server, tmp_path / "a.zip") == server.files[PATH]


def test_a_changed_size_betrays_a_changed_file_without_etag(server, body, tmp_path) -> None:
    server.faults.validators = False
    interrupted(server, tmp_path / "a.zip")
    server.files[PATH] = np.random.default_rng(2).bytes(2_100_000)
    assert get(server, tmp_path / "a.zip") == server.files[PATH]


def test_a_part_without_its_version_is_not_used(server, body, tmp_path) -> None:
    part_path(tmp_path / "a.zip", server.url(PATH)).write_bytes(b"x" * 1000)
    assert get(server, tmp_path / "a.zip") == body


def test_busy_servers_are_asked_again_when_they_say(server, body, tmp_path) -> None:
    server.faults.statuses = [429, 503]
    server.faults.retry_after = "1"
    assert get(server, tmp_path / "a.zip") == body
    times = [request.time for request in server.requests]
    assert len(times) == 3
    assert all(0.95 < after - before < 3 for before, after in pairwise(times))


def test_a_silent_server_times_out_and_is_asked_again(server, body, tmp_path) -> None:
    server.faults.stall_s = 1.0
    with pytest.raises(UserError, match="given up after 2 attempts"):
        get(server, tmp_path / "a.zip", Patience(retries=1, backoff_s=0.01, timeout_s=0.2))
    assert len(server.requests) == 2


def test_the_next_mirror_serves(server, body, tmp_path) -> None:
    closed = "http://127.0.0.1:9/a.zip"
    urls = [closed, server.url("missing.zip"), server.url(PATH)]
    assert fetch(urls, tmp_path / "a.zip", accept_anything, HASTY) == urls[2]
    assert (tmp_path / "a.zip").read_bytes() == body
    with pytest.raises(UserError) as caught:
        fetch(urls[:2], tmp_path / "b.zip", accept_anything, HASTY)
    for text in (*urls[:2], "HTTP 404", "data.urls", "data.root"):
        assert text in str(caught.value)


def test_mirrors_do_not_share_their_parts(server, body, tmp_path) -> None:
    part = interrupted(server, tmp_path / "a.zip")
    kept = part.read_bytes()
    server.files["other.zip"] = np.random.default_rng(5).bytes(2_000_000)
    server.faults.statuses = [500] * 3
    urls = [server.url(PATH), server.url("other.zip")]
    server.faults.drop_after = []
    assert fetch(urls, tmp_path / "a.zip", accept_anything, HASTY) == urls[1]
    assert (tmp_path / "a.zip").read_bytes() == server.files["other.zip"]
    assert kept == body[: len(kept)]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zip"]


def test_what_is_no_archive_is_not_accepted(server, tmp_path) -> None:
    archive = verse_archive()
    server.files |= {"login.zip": b"<html>Please sign in</html>", "short.zip": archive[:-400]}
    server.files[PATH] = archive
    urls = [server.url("login.zip"), server.url("short.zip"), server.url(PATH)]
    server.faults.length = False
    assert fetch(urls, tmp_path / "a.zip", check_archive, HASTY) == urls[2]
    with pytest.raises(UserError, match=r"(?s)login\.zip: .*not a complete zip.*short\.zip"):
        fetch(urls[:2], tmp_path / "b.zip", check_archive, HASTY)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zip"]


def test_a_body_shorter_than_announced_is_not_accepted(server, body, tmp_path) -> None:
    server.faults.drop_after = [1_500_000, *[0] * 9]
    with pytest.raises(UserError, match="given up after 3 attempts"):
        get(server, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_room_is_checked_before_the_download(server, body, tmp_path) -> None:
    with pytest.raises(UserError, match=r"free.*data\.folder"):
        get(server, tmp_path / "a.zip", copies=1e9)
    server.faults.length = False
    with pytest.raises(UserError, match=r"needs 1e\+09 GB"):
        get(server, tmp_path / "b.zip", expected_bytes=10**18)
    require_space(tmp_path, 1, "nothing")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(server, body, small_disk: Path) -> None:
    target = small_disk / "a.zip"
    with pytest.raises(UserError, match=r"needs 0\.002 GB, but only"):
        get(server, target)
    server.faults.length = False
    with pytest.raises(UserError, match="the disk is full"):
        get(server, target)
    assert not target.exists()


def test_a_disk_that_fills_up_while_unpacking(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(900_000)
    (tmp_path / "a.zip").write_bytes(zipped({"rawdata/sub-a/sub-a_ct.nii.gz": content}))
    with pytest.raises(UserError, match=r"needs 0\.0009 GB"):
        extract(tmp_path / "a.zip", small_disk / "training")
    monkeypatch.setattr(archives, "require_space", lambda *arguments: None)
    with pytest.raises(UserError, match="the disk is full while unpacking"):
        extract(tmp_path / "a.zip", small_disk / "training")
    assert list(small_disk.iterdir()) == []


def test_progress_is_logged_where_there_is_no_terminal(caplog, monkeypatch) -> None:
    monkeypatch.setattr(bulk, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr("vertseg.core.logs.logger.propagate", True)
    with caplog.at_level("INFO", "vertseg"), byte_progress("a.zip", 4000, 1000) as move:
        time.sleep(0.02)
        move(1000)
    assert "a.zip: " in caplog.text
    assert "50%" in caplog.text and "2.00k/4.00k" in caplog.text and "B/s" in caplog.text


# Unpacking


@pytest.mark.parametrize(
    "top", ["dataset-01training/", "01_training/", "dataset-verse19training/", "", "a/b/"]
)
def test_unpacked_files_have_the_same_paths_whatever_the_top_folder(top: str, tmp_path) -> None:
    (tmp_path / "a.zip").write_bytes(verse_archive(top))
    hashes = extract(tmp_path / "a.zip", tmp_path / "training")
    expected = verse_files()
    found = {str(p.relative_to(tmp_path / "training")) for p in tmp_path.glob("training/**/*.*")}
    extra = {
        "rawdata/sub-gl003/sub-gl003_dir-ax_ct.json",
        "derivatives/sub-verse588/sub-verse588_seg-subreg_msk.nii.gz",
    }
    assert found == set(hashes) == set(expected) | extra
    for name, content in expected.items():
        assert (tmp_path / "training" / name).read_bytes() == content
        assert hashes[name] == hashlib.sha256(content).hexdigest()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.zip", tmp_path / "training"]


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("top/rawdata/sub-a/link")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


CT = "top/rawdata/sub-a/sub-a_ct.nii.gz"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside", "leaves the folder"),
        ("top/rawdata/../../../outside", "leaves the folder"),
        ("/etc/outside", "absolute"),
        ("C:/outside", "unusual characters"),
        ("top\\..\\..\\outside", "unusual characters"),
        ("top/rawdata/a\nb", "unusual characters"),
        (link(), "link"),
    ],
    ids=["parent", "inner parent", "absolute", "drive", "backslash", "newline", "symlink"],
)
def test_hostile_members_are_refused(name, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "inner/a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CT, b"ct")
        archive.writestr(name, b"/etc/passwd")
    for use in (check_archive, lambda path: extract(path, tmp_path / "inner/training")):
        with pytest.raises(UserError, match=f"(?s)not safe to unpack.*{reason}"):
            use(path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "a.zip"]


def test_bombs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({CT: bytes(5_000_000)}))
    with pytest.raises(UserError, match=r"not safe to unpack: .* bytes would become"):
        extract(tmp_path / "a.zip", tmp_path / "training")


def test_a_member_larger_than_announced_does_not_get_through(tmp_path: Path) -> None:
    content = bytes(3_000_000)
    raw = bytearray(zipped({CT: content}))
    announced = len(content).to_bytes(4, "little")
    while (at := raw.find(announced)) >= 0:
        raw[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UserError, match="is damaged"):
        extract(tmp_path / "a.zip", tmp_path / "training")
    assert not (tmp_path / "training").exists()


@pytest.mark.parametrize("name", [CT, CT.upper().replace("TOP/RAWDATA", "top/rawdata"), f"{CT}/x"])
def test_members_that_would_go_to_one_file_are_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(CT, b"ct")
        if name == CT:
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(name, b"other")
        else:
            archive.writestr(name, b"other")
    with pytest.raises(UserError, match="one file"):
        extract(tmp_path / "a.zip", tmp_path / "training")


def test_archives_of_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"readme.txt": b"x"}))
    with pytest.raises(UserError, match="no folder rawdata"):
        extract(tmp_path / "a.zip", tmp_path / "training")
    two = zipped({"a/rawdata/sub-a/x": b"x", "b/derivatives/sub-a/x": b"x"})
    (tmp_path / "a.zip").write_bytes(two)
    with pytest.raises(UserError, match="several data sets: a, b"):
        extract(tmp_path / "a.zip", tmp_path / "training")
    with pytest.raises(UserError, match=r"none\.zip.*cannot be read"):
        extract(tmp_path / "none.zip", tmp_path / "training")


def test_a_damaged_member_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    raw = bytearray(verse_archive())
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        info = archive.getinfo("dataset-01training/rawdata/sub-verse588/sub-verse588_ct.nii.gz")
        raw[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(raw)
    (tmp_path / "training").mkdir()
    (tmp_path / "training/earlier").touch()
    with pytest.raises(UserError, match=r"sub-verse588_ct\.nii\.gz is damaged.*start again"):
        extract(tmp_path / "a.zip", tmp_path / "training")
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["earlier"]
    assert len(list(tmp_path.iterdir())) == 2


def test_unpacking_replaces_folders_but_not_links(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(verse_archive())
    (tmp_path / "training/rawdata/sub-old").mkdir(parents=True)
    (tmp_path / ".training.partial").mkdir()
    extract(tmp_path / "a.zip", tmp_path / "training")
    assert not (tmp_path / "training/rawdata/sub-old").exists()
    (tmp_path / "linked").symlink_to(tmp_path / "training")
    with pytest.raises(UserError, match=r"link.*data\.root"):
        extract(tmp_path / "a.zip", tmp_path / "linked")


# Inventory, manifest, registry


def test_the_inventory_names_every_difference(tmp_path: Path) -> None:
    files = verse_files()
    scans = archived_scans(files)
    assert [scan.scan for scan in scans] == sorted(SCANS)
    assert {scan.scan: scan.centroids.split("seg-")[1] for scan in scans} == {
        scan: f"{kind}_ctd.json" for scan, kind in SCANS.items()
    }
    sheet = sheet_of(tmp_path / "sheet.tsv")
    check_inventory("a.zip", sheet, "training", scans)
    listed = dict(list(SCANS.items())[1:]) | {"sub-verse999_dir-ax": "subreg"}
    sheet_of(sheet, listed)
    files.pop("derivatives/sub-verse588/sub-verse588_seg-vert_msk.nii.gz")
    with pytest.raises(UserError) as caught:
        check_inventory("a.zip", sheet, "training", archived_scans(files))
    assert str(caught.value).splitlines()[1:-1] == [
        "  sub-verse999/sub-verse999_dir-ax: in the sheet but not in the archive",
        "  sub-gl003/sub-gl003_dir-ax: in the archive but not in the sheet",
        "  sub-verse588/sub-verse588: without its mask in the archive",
    ]


def test_a_proposed_sheet_replaces_one_split(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path / "sheet.tsv", {"sub-a_dir-ax": "vb"})
    scans = archived_scans(verse_files({"sub-b": "vb"}))
    assert updated_sheet(sheet, "validation", scans) == [
        ("sub-a_dir-ax", "sub-a", "training"),
        ("sub-b", "sub-b", "validation"),
    ]
    assert updated_sheet(sheet, "training", scans) == [("sub-b", "sub-b", "training")]
    assert updated_sheet(tmp_path / "none.tsv", "test", scans) == [("sub-b", "sub-b", "test")]


def test_the_committed_sheet_has_the_papers_61_scans() -> None:
    sheet = ROOT / "resources/verse20.tsv"
    samples = listed_verse_samples(sheet, "data/verse20", ["training"])
    assert len(samples) == len({sample.subject for sample in samples}) == 61
    assert samples[0].ct == "data/verse20/training/rawdata/sub-gl003/sub-gl003_dir-ax_ct.nii.gz"
    for split in ("validation", "test"):
        with pytest.raises(UserError, match=f"data/verse20/{split}_sheet.tsv"):
            listed_verse_samples(sheet, "data/verse20", ["training", split])


def test_a_malformed_sheet_is_explained(tmp_path: Path) -> None:
    (tmp_path / "sheet.tsv").write_text("scan,subject,split\na,b,training\n")
    with pytest.raises(UserError, match=r"sheet\.tsv.*scan, subject and split"):
        listed_verse_samples(tmp_path / "sheet.tsv", "data", ["training"])


def test_manifest_in_the_form_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(verse_archive())
    folder, manifest = tmp_path / "training", tmp_path / "training.sha256"
    hashes = extract(tmp_path / "a.zip", folder)
    write_manifest(manifest, hashes)
    subprocess.run(["sha256sum", "--check", "--quiet", str(manifest)], cwd=folder, check=True)
    assert read_manifest(manifest) == hashes
    assert verify(manifest, folder) == len(hashes)
    check_same_as_before(manifest, hashes)
    check_same_as_before(tmp_path / "none", hashes)

    changed = folder / "rawdata/sub-verse588/sub-verse588_ct.nii.gz"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    (folder / "derivatives/sub-gl003/sub-gl003_dir-ax_seg-subreg_ctd.json").unlink()
    with pytest.raises(UserError, match=r"(?s)2 of 26 .*ctd\.json: missing.*588_ct.nii.gz: chang"):
        verify(manifest, folder)
    with pytest.raises(UserError, match=r"(?s)not those of the first.*\n  new\n"):
        check_same_as_before(manifest, hashes | {"new": "0" * 64})
    manifest.write_text("not a manifest\n")
    with pytest.raises(UserError, match="not a list"):
        verify(manifest, folder)


@pytest.mark.parametrize("release", ["verse19", "verse20"])
@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_the_registry_knows_every_archive(release: str, split: str) -> None:
    source = read_source(ROOT / "resources/verse.yaml", release, split, {})
    assert source.urls[0].endswith(f"/dataset-{release}{split}.zip")
    assert all(url.startswith("https://") for url in source.urls)
    assert (source.expected_bytes > 11e9) == (release == "verse20")
    other = read_source(ROOT / "resources/verse.yaml", release, split, {split: ["http://a/b"]})
    assert other.urls == ["http://a/b"]


# The workflow


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    folder = copy_workflow(tmp_path / "workflow")
    sheet_of(folder / "resources/verse20.tsv")
    return folder


def configured(folder: Path, **settings) -> list[str]:
    """Arguments for a run whose `data` section differs from config.yaml."""
    small = {"data": settings, "grid": [8, 8, 8], "gpus": 0}
    (folder / "config/test.yaml").write_text(json.dumps(small))
    return ["--configfile", "config/test.yaml", "--"]


def test_a_fresh_clone_plans_the_whole_run_without_network(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*arguments):\n    raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    done = subprocess.run(
        [*command, "--", "results/table1.csv"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = dict(
        line.split()[:2]
        for line in done.stdout.splitlines() + done.stderr.splitlines()
        if len(line.split()) == 2 and line.split()[1].isdigit()
    )
    expected = {
        "download": "1",
        "inventory": "1",
        "extract_training": "1",
        "preprocess": "122",
        "train": "18",
        "predict": "18",
        "nnunet_plan": "1",
        "nnunet_train": "9",
        "nnunet_predict": "9",
    }
    assert expected.items() <= counts.items()
    assert not (folder / "data").exists()


@pytest.mark.workflow
def test_from_nothing_to_preprocessed_scans(workflow: Path, server: VerseServer) -> None:
    server.files[PATH] = verse_archive()
    urls = {"training": [server.url("gone.zip"), server.url(PATH)]}
    archive = workflow / "data/verse20/training.zip"
    arguments = configured(workflow, urls=urls, keep_archive=False)
    targets = ["results/samples.tsv", "results/cache/8x8x8/sub-verse588.safetensors"]
    server.faults.drop_after = [700_000]
    snakemake(workflow, *arguments, *targets, "verify_data")
    assert not archive.exists()
    assert server.requests[-1].range is not None

    samples = pd.read_csv(workflow / "results/samples.tsv", sep="\t").set_index("scan")
    assert sorted(samples.index) == sorted(SCANS)
    for scan, kind in SCANS.items():
        assert samples.loc[scan, "centroids"].endswith(f"{scan}_seg-{kind}_ctd.json")
        for column in ("ct", "mask", "centroids"):
            assert (workflow / samples.loc[scan, column]).is_file()

    number = len(server.requests)
    server.files.clear()
    assert "Nothing to be done" in snakemake(workflow, *arguments, *targets)
    changed = workflow / samples.loc["sub-verse588", "mask"]
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    output = failing_snakemake(workflow, *arguments, "verify_data")
    assert "1 of 26 files are not as downloaded" in output
    assert "sub-verse588_seg-vert_msk.nii.gz: changed" in output
    assert len(server.requests) == number


@pytest.mark.workflow
def test_after_a_kill_the_next_run_resumes_and_the_inventory_compares(
    workflow: Path, server: VerseServer
) -> None:
    server.files[PATH] = verse_archive()
    server.faults.bytes_per_s = 400_000
    arguments = configured(workflow, urls={"training": [server.url(PATH)]})
    inventory = "data/verse20/training_inventory.tsv"
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, inventory],
        cwd=workflow,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    part = part_path(workflow / "data/verse20/training.zip", server.url(PATH))
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 200_000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size

    server.faults.bytes_per_s = None
    sheet_of(workflow / "resources/verse20.tsv", dict(list(SCANS.items())[1:]))
    proposed = "data/verse20/training_sheet.tsv"
    output = failing_snakemake(
        workflow, "--nolock", "--keep-going", *arguments, inventory, proposed
    )
    assert server.requests[-1].range == f"bytes={kept}-"
    assert "sub-gl003/sub-gl003_dir-ax: in the archive but not in the sheet" in output
    assert not (workflow / inventory).exists()
    sheet_of(workflow / "expected.tsv")
    assert (workflow / proposed).read_text() == (workflow / "expected.tsv").read_text()


@pytest.mark.workflow
def test_unpacking_again_must_give_the_files_of_the_first_download(
    workflow: Path, server: VerseServer
) -> None:
    server.files[PATH] = verse_archive()
    arguments = configured(workflow, urls={"training": [server.url(PATH)]})
    manifest = workflow / "data/verse20/training.sha256"
    snakemake(workflow, *arguments, "data/verse20/training.sha256")
    first = manifest.read_text()
    files = verse_files()
    files["rawdata/sub-verse588/sub-verse588_ct.nii.gz"] = b"other"
    (workflow / "data/verse20/training.zip").write_bytes(zipped(files))
    output = failing_snakemake(workflow, *arguments, "data/verse20/training.sha256")
    assert "not those of the first download" in output
    assert "rawdata/sub-verse588/sub-verse588_ct.nii.gz" in output
    assert manifest.read_text() == first


@pytest.mark.workflow
def test_your_own_copy_is_used_in_place(workflow: Path, server: VerseServer) -> None:
    copy = workflow.parent / "copy/dataset-01training"
    for name, content in verse_files().items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    arguments = configured(workflow, root=str(copy))
    output = failing_snakemake(
        workflow, "--keep-going", *arguments, "results/samples.tsv", "verify_data"
    )
    assert "this configuration downloads none" in output
    samples = pd.read_csv(workflow / "results/samples.tsv", sep="\t")
    assert len(samples) == len(SCANS)
    assert samples["ct"].str.startswith(str(copy)).all()
    assert not (workflow / "data").exists()
    assert server.requests == []
