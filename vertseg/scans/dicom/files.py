"""DICOM files of a folder or a zip archive, read where they lie: nothing is unpacked.

Other files may lie among them: viewers, licences and directories (DICOMDIR) of a hospital's disc. A
file counts as DICOM if it has DICOM's mark, or if it lacks the mark, as old files do, but starts
with an element of a data set. Headers are kept without their voxels.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files
from vertseg.core.progress import progress
from vertseg.scans import zips
from vertseg.scans.dicom.first_elements import (
    MARK,
    MARK_START,
    SUFFIXES,
    has_mark,
    looks_like_dicom,
)

MOST_FILES = zips.DICOM.members
"""Largest number of files in a folder, as in an archive."""


class Source(Protocol):
    """A place that holds files by name."""

    path: Path

    def names(self) -> list[str]:
        """All files' names, sorted."""

    def open(self, name: str) -> IO[bytes]:
        """A file, to be read from its start."""

    def read(self, name: str) -> bytes:
        """A file's content."""


@dataclass(frozen=True)
class Instance:
    """A DICOM file's name in its source and its header, a data set without voxels."""

    name: str
    header: Dataset


class Folder:
    """The files of a folder and, if asked for, of the folders below it."""

    def __init__(self, path: Path, deep: bool = True) -> None:
        self.path = path
        self._deep = deep

    def names(self) -> list[str]:
        """Paths below the folder, sorted; links are followed, hidden ones passed over."""
        found: list[str] = []
        for folder, names in walk_files(self.path, self._deep):
            inside = folder.relative_to(self.path)
            found += [str(inside / name) for name in names]
            if len(found) > MOST_FILES:
                raise UserError(
                    f"{self.path}: more than {MOST_FILES} files in and below this folder. "
                    "Give the folder of one series."
                )
        return sorted(found)

    def open(self, name: str) -> IO[bytes]:
        """A file of the folder."""
        return (self.path / name).open("rb")

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.path / name).read_bytes()


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """The files of a folder, or of a zip archive, which is not unpacked.

    Raises:
        UserError: the archive is damaged, encrypted or too large (see `zips.open_zip`).
    """
    if path.is_dir():
        yield Folder(path)
        return
    with zips.open_zip(path, zips.DICOM) as archive:
        yield archive


def is_dicom(path: Path) -> bool:
    """Whether a file looks like DICOM."""
    with path.open("rb") as file:
        return looks_like_dicom(file.read(MARK_START + len(MARK)))


def read_instances(source: Source) -> tuple[list[Instance], list[str]]:
    """The headers of a source's DICOM files.

    Returns:
        DICOM files, sorted by name, each SOP instance once; and the names of the other files.

    Raises:
        UserError: a DICOM file is damaged.
    """
    instances: dict[str, Instance] = {}
    others = []
    for name in progress(source.names(), f"looking through {source.path.name}"):
        header = read_header(source, name)
        if header is None:
            others.append(name)
        else:
            uid = str(header.get("SOPInstanceUID", name))
            instances.setdefault(uid, Instance(name, header))
    return list(instances.values()), others


def read_header(source: Source, name: str) -> Dataset | None:
    """A DICOM file's data set without voxels; None if the file is not DICOM or a DICOMDIR.

    Raises:
        UserError: the file is marked or named as DICOM, but damaged.
    """
    with source.open(name) as file:
        start = file.read(MARK_START + len(MARK))
        stated = has_mark(start) or Path(name).suffix.lower() in SUFFIXES
        if not looks_like_dicom(start):
            if stated:
                raise damaged(source, name, "it does not start as DICOM does")
            return None
        file.seek(0)
        try:
            header = dcmread(file, stop_before_pixels=True, force=True)
        except (InvalidDicomError, EOFError, OSError, ValueError, KeyError) as error:
            if stated:
                raise damaged(source, name, error) from error
            return None
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    if "SOPClassUID" in header:
        return header
    if stated:
        raise damaged(source, name, "it states no SOP class")
    return None


def read_dataset(source: Source, name: str) -> Dataset:
    """A DICOM file with its voxels.

    Raises:
        UserError: the file is damaged.
    """
    try:
        dataset = dcmread(io.BytesIO(source.read(name)), force=True)
    except (InvalidDicomError, EOFError, OSError, ValueError, KeyError) as error:
        raise damaged(source, name, error) from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def damaged(source: Source, name: str, reason: object) -> UserError:
    """The error for a file that cannot be read."""
    return UserError(
        f"{source.path}: the DICOM file {name} is damaged ({reason}). Copy or export it again."
    )
