"""VerSe as published: sources of its archives, their inventory, and manifests of their files.

VerSe's releases and names: https://github.com/anjany/verse.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname
from typing import Any

import yaml

from vertseg.core.errors import UserError
from vertseg.core.files import file_sha256, write_text
from vertseg.core.progress import byte_progress
from vertseg.dataset import layout
from vertseg.dataset.samples import read_verse_sheet

SHEET_COLUMNS = ["scan", "subject", "split"]


@dataclass(frozen=True)
class Source:
    """Mirrors and size of an archive.

    Attributes:
        urls: mirrors in order of preference.
        expected_bytes: approximate size of the archive; 0 if unknown.
    """

    urls: list[str]
    expected_bytes: int


@dataclass(frozen=True)
class ArchivedScan:
    """One scan of an archive: paths below the data set's folder, "" where a file is missing."""

    scan: str
    subject: str
    ct: str
    mask: str
    centroids: str


def read_source(
    registry: str | os.PathLike[str], release: str, split: str, urls: Mapping[str, list[str]]
) -> Source:
    """Mirrors and size of the archive of a split.

    Args:
        registry: `resources/verse.yaml`.
        release: `verse19` or `verse20`.
        split: `training`, `validation` or `test`.
        urls: mirrors by split that replace those of the registry.
    """
    entry: dict[str, Any] = yaml.safe_load(Path(registry).read_text())[release][split]
    return Source(list(urls.get(split) or entry["urls"]), round((entry["gigabytes"] or 0) * 1e9))


def archived_scans(paths: Iterable[str]) -> list[ArchivedScan]:
    """The scans among the files of an archive, sorted by name.

    A scan is a `rawdata/{subject}/{scan}_ct.nii.gz`; its mask and centroids have the same BIDS
    stem below `derivatives`.

    Args:
        paths: below the data set's folder (see `vertseg.dataset.archives.members`).
    """
    files = sorted(paths)
    known = set(files)
    scans = []
    for name in files:
        if not (names := layout.subject_and_scan(name)):
            continue
        subject, scan = names
        mask = layout.reference_path("", subject, scan).removeprefix("/")
        beside = [file for file in files if dirname(file) == dirname(mask)]
        centroids = layout.find_centroids(scan, beside)
        scans.append(ArchivedScan(scan, subject, name, mask if mask in known else "", centroids))
    return sorted(scans, key=lambda scan: scan.scan)


def check_inventory(
    archive: str, sheet: str | os.PathLike[str], split: str, scans: Iterable[ArchivedScan]
) -> None:
    """Compare an archive with the committed sheet.

    Args:
        archive: its name, for the message.
        sheet: table (TSV) with the columns scan, subject, split.
        split: the split that the archive should be.
        scans: the archive's scans.

    Raises:
        UserError: they differ, or scans lack their mask; every such scan is named.
    """
    scans = list(scans)
    listed = {
        (row["subject"], row["scan"]) for row in read_verse_sheet(sheet) if row["split"] == split
    }
    found = {(scan.subject, scan.scan) for scan in scans}
    without_mask = {(scan.subject, scan.scan) for scan in scans if not scan.mask}
    differences = [
        ("in the sheet but not in the archive", listed - found),
        ("in the archive but not in the sheet", found - listed),
        ("without its mask in the archive", without_mask),
    ]
    problems = [
        f"{subject}/{scan}: {what}"
        for what, pairs in differences
        for subject, scan in sorted(pairs)
    ]
    if problems:
        listing = "\n  ".join(problems)
        raise UserError(
            f"{archive} and {sheet} differ in {len(problems)} scans:\n  {listing}\nIf the archive "
            "is right, correct the sheet; docs/verse.md says how."
        )


def updated_sheet(
    sheet: str | os.PathLike[str], split: str, scans: Iterable[ArchivedScan]
) -> list[tuple[str, str, str]]:
    """The rows of the committed sheet with those of a split replaced by an archive's scans."""
    rows = read_verse_sheet(sheet)
    others = [(row["scan"], row["subject"], row["split"]) for row in rows if row["split"] != split]
    return others + [(scan.scan, scan.subject, split) for scan in scans]


def write_manifest(path: Path, hashes: Mapping[str, str]) -> None:
    """Write SHA-256 by file in the form of `sha256sum`, paths relative to the split's folder."""
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items())))


def read_manifest(path: Path) -> dict[str, str]:
    """SHA-256 (hexadecimal) by file.

    Raises:
        UserError: the manifest is missing or has lines of another form.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path}: the manifest cannot be read ({error.strerror}).") from error
    entries = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if not entries or None in entries:
        raise UserError(f"{path}: not a list of SHA-256 sums.")
    return {entry[2]: entry[1] for entry in entries if entry}


def check_same_as_before(manifest: Path, hashes: Mapping[str, str]) -> None:
    """Compare newly unpacked files with the manifest of the first download, if there is one.

    Raises:
        UserError: files differ, or came or went; all are named.
    """
    if not manifest.exists():
        return
    before = read_manifest(manifest)
    changed = sorted(
        name for name in before.keys() | hashes.keys() if before.get(name) != hashes.get(name)
    )
    if changed:
        listed = "\n  ".join(changed)
        raise UserError(
            f"{manifest}: the archive's files are not those of the first download:\n  {listed}\n"
            "If you trust the new archive, delete the manifest and start again."
        )


def verify(manifest: Path, folder: Path) -> int:
    """Compare files with their manifest.

    Args:
        manifest: written at the first download.
        folder: the split's folder.

    Returns:
        Number of files compared.

    Raises:
        UserError: files are missing or changed; all are named.
    """
    expected = read_manifest(manifest)
    problems = [f"{name}: missing" for name in expected if not (folder / name).is_file()]
    present = [name for name in expected if (folder / name).is_file()]
    total = sum((folder / name).stat().st_size for name in present)
    with byte_progress(f"verify {folder.name}", total) as move:
        for name in present:
            if file_sha256(folder / name) != expected[name]:
                problems.append(f"{name}: changed")
            move((folder / name).stat().st_size)
    if problems:
        listed = "\n  ".join(problems)
        raise UserError(
            f"{folder}: {len(problems)} of {len(expected)} files are not as downloaded:\n"
            f"  {listed}\nDelete the folder and start again to unpack them anew."
        )
    return len(expected)
