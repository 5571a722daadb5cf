"""Zip archives from elsewhere: opened, listed and read within limits.

An archive is somebody else's data. It may be damaged or encrypted, hold links, or be made to
unpack to far more than its own size; and its directory may lie. Everything refused or found wrong
is a `UserError` that names the archive, the reason and what to do.
"""

import copy
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vertseg.core.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Limits on archives of one kind, and the advice in errors about them.

    Attributes:
        content: what such an archive holds, for messages.
        members: largest number of files.
        member_bytes: largest size of a file.
        expansion: largest size of all files together, as a multiple of the archive's size.
        unpacked: members' paths become paths on disk, so that hostile ones are refused.
        if_damaged: advice about a damaged archive.
        if_refused: advice about an archive that is whole, but refused.
    """

    content: str
    members: int
    member_bytes: int
    expansion: int
    unpacked: bool
    if_damaged: str
    if_refused: str


DATA_SET = Limits(
    content="a data set",
    # VerSe's largest archive holds fewer than 1000 files.
    members=100_000,
    member_bytes=16 << 30,
    # CT and masks are compressed already; only small JSON files shrink inside a zip.
    expansion=20,
    unpacked=True,
    if_damaged="Delete the archive and start again: it will be downloaded anew.",
    if_refused="Name another mirror in data.urls, or set data.root to a copy of the data.",
)
"""An archive of VerSe, which is unpacked to the data set's folder."""

IMAGE = Limits(
    content="one scan",
    members=20_000,
    # A scan of 512 x 512 x 8000 voxels in double precision; it goes to a temporary file.
    member_bytes=16 << 30,
    # A scan shrinks to a third, one that is mostly padding in double precision fifty-fold.
    expansion=200,
    unpacked=False,
    if_damaged="Copy or download it again.",
    if_refused="Unpack it and give its image, or the folder of one series.",
)
"""A scan's archive, read in place; one image of it goes to a temporary file."""

DICOM = replace(IMAGE, member_bytes=4 << 30)
"""The archive of a DICOM series, whose files are held in memory one after the other. The voxels of
one DICOM file are at most 4 GiB (PS3.5, a length of 32 bits)."""

_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods of compression that are read. zipfile unpacks the others without a bound: kilobytes of
input can become gigabytes in one step."""

_CHUNK = 1 << 20
_BUFFER = 1 << 16
_MOST_LISTED = 20
_ENCRYPTED = 0x1
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""Errors of zipfile, zlib and struct on archives that are not whole."""


class Archive:
    """The files of an archive by name; made by `open_zip`.

    Folders, hidden files and what macOS adds (`__MACOSX`, `._*`, `.DS_Store`) do not count.

    Attributes:
        path: of the archive.
    """

    def __init__(self, path: Path, zipped: zipfile.ZipFile, limits: Limits) -> None:
        self.path = path
        self._zipped = zipped
        self._limits = limits
        infos = [info for info in zipped.infolist() if not info.is_dir()]
        self._refuse_excess(infos)
        self._refuse_kinds(infos)
        counted = [info for info in infos if not _is_clutter(info.filename)]
        self._members = {info.filename: info for info in counted}
        if len(self._members) < len(counted):
            raise self._refusal("several members have one name and would go to one file.")

    def names(self) -> list[str]:
        """Names of the files, sorted."""
        return sorted(self._members)

    def size(self, name: str) -> int:
        """Size of a file in bytes, as the archive states it."""
        return self._members[name].file_size

    def open(self, name: str) -> IO[bytes]:
        """A file, decompressed as it is read.

        Reading raises `UserError` where the file is damaged, or longer or shorter than stated. Its
        checksum is compared once its end has been reached.
        """
        info = copy.copy(self._members[name])
        # One byte more than stated, so that a file that goes on is noticed.
        info.file_size += 1
        named = partial(self._errors_named, name)
        with named():
            file = self._zipped.open(info)
        return io.BufferedReader(_Member(file, name, self.size(name), named), _BUFFER)

    def read(self, name: str) -> bytes:
        """The content of a file, its checksum compared."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def _errors_named(self, name: str) -> Iterator[None]:
        """Errors of zipfile while a file is read as `UserError`."""
        try:
            yield
        except NotImplementedError as error:
            raise self._refusal(f"{name} cannot be unpacked ({error}).") from error
        except _DAMAGE as error:
            reason = f"{self.path}: {name} is damaged ({str(error) or 'it ends early'})."
            raise UserError(f"{reason} {self._limits.if_damaged}".rstrip()) from error

    def _refuse_excess(self, infos: list[zipfile.ZipInfo]) -> None:
        sizes = [info.file_size for info in infos]
        largest = max(sizes, default=0)
        if len(sizes) > self._limits.members or largest > self._limits.member_bytes:
            raise self._refusal(
                f"the archive holds {len(sizes)} files, the largest of {largest} bytes: too much "
                f"for {self._limits.content}."
            )
        own = self.path.stat().st_size
        if sum(sizes) > self._limits.expansion * own:
            raise self._refusal(
                f"the archive is {self._unsafe}: {own} bytes would become {len(sizes)} files of "
                f"{sum(sizes)} bytes."
            )

    def _refuse_kinds(self, infos: list[zipfile.ZipInfo]) -> None:
        if any(info.flag_bits & _ENCRYPTED for info in infos):
            raise self._refusal("the archive is encrypted.")
        reasons = [
            f"{info.filename!r}: {reason}"
            for info in infos
            if (reason := _unsafe_kind(info) or (self._limits.unpacked and _unsafe_path(info)))
        ]
        if reasons:
            listed = "\n  ".join(reasons[:_MOST_LISTED])
            raise self._refusal(f"the archive is {self._unsafe}:\n  {listed}", "\n")

    @property
    def _unsafe(self) -> str:
        return "not safe to unpack" if self._limits.unpacked else "not read in place"

    def _refusal(self, reason: str, separator: str = " ") -> UserError:
        return UserError(f"{self.path}: {reason}{separator}{self._limits.if_refused}".rstrip())


class _Member(io.RawIOBase):
    """The bytes of a file: as many as the archive states, or an error.

    Args:
        file: the file as zipfile gives it.
        name: of the file.
        size: bytes that it should have.
        errors_named: context in which errors of zipfile become `UserError`.
    """

    def __init__(
        self,
        file: IO[bytes],
        name: str,
        size: int,
        errors_named: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__()
        self.name = name
        self._file, self._size, self._errors_named = file, size, errors_named

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._errors_named():
            chunk = self._file.read(min(len(buffer), _CHUNK))
            reached = self._file.tell()
            if reached > self._size:
                raise zipfile.BadZipFile(f"more than the {self._size} bytes that it should have")
            if not chunk and reached < self._size:
                raise zipfile.BadZipFile(f"{reached} of the {self._size} bytes it should have")
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset, whence = offset + self._size, io.SEEK_SET
        with self._errors_named():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_zip(path: Path, limits: Limits) -> Iterator[Archive]:
    """Open an archive.

    Raises:
        UserError: it is missing, damaged, encrypted or beyond the limits; or it holds links,
            special files, files compressed by methods other than deflate, two files of one name
            or, if it is to be unpacked, hostile paths.
    """
    try:
        zipped = zipfile.ZipFile(path)
    except NotImplementedError as error:
        reason = f"{path}: the archive cannot be unpacked ({error})."
        raise UserError(f"{reason} {limits.if_refused}".rstrip()) from error
    except OSError as error:
        raise UserError(f"{path}: the archive cannot be read ({error.strerror}).") from error
    except _DAMAGE as error:
        reason = f"{path}: not a complete zip archive ({error})."
        raise UserError(f"{reason} {limits.if_damaged}".rstrip()) from error
    with zipped:
        yield Archive(path, zipped, limits)


def _unsafe_path(info: zipfile.ZipInfo) -> str | None:
    """Reason for which a member's path may not become a path on disk, or None."""
    # zipfile cuts orig_filename at a NUL and, on Windows, turns backslashes into slashes.
    name = info.orig_filename
    if "\0" in name or "\\" in name or ":" in name or not name.isprintable():
        return "unusual characters in its path"
    if name.startswith("/"):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path that leaves the folder"
    return None


def _unsafe_kind(info: zipfile.ZipInfo) -> str | None:
    """Reason for which a member is not read, or None."""
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "a link or special file"
    if info.compress_type not in _READ:
        return (
            f"compressed by method {info.compress_type}; only 0 (stored) and 8 (deflate) are read"
        )
    return None


def _is_clutter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part != ".." for part in parts) or "__MACOSX" in parts
