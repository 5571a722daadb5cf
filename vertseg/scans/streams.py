"""Voxels in files: regular files alone, read once, compressed streams checked to their end."""

import bz2
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vertseg.core.errors import UserError

_CHUNK = 1 << 20
_MOST_EXTRA = 64 << 20
"""Bytes after the voxels that are still read, to reach the checksum behind them."""

GZIP_MARK = b"\x1f\x8b"


def check_regular(path: Path) -> None:
    """Refuse pipes, devices and sockets, which could be read without an end.

    Raises:
        UserError: the path is missing, or neither a regular file nor a link to one.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no such file. Check the path.") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: a folder, not a file. Give the file inside.")
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{path}: a pipe, device or socket, not a regular file. Copy its content to a file."
        )


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Errors of libraries while a file is read, as `UserError`.

    Raises:
        UserError: the file is damaged, or too large for this machine.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: too large for this machine's memory.") from error
    # Libraries document none of the errors that damaged headers and streams lead to.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: cannot be read ({reason[:300]}). It may be truncated or damaged: copy or "
            "download it again."
        ) from error


@contextmanager
def open_stream(path: Path, encoding: str, skip: int = 0) -> Iterator[IO[bytes]]:
    """The bytes of a regular file, decompressed as they are read.

    Args:
        path: the file.
        encoding: "raw", "gzip", "bzip2", or "zlib", which takes streams of zlib and of gzip.
        skip: bytes of the file before the stream.
    """
    check_regular(path)
    with path.open("rb") as file:
        file.seek(skip)
        if encoding == "raw":
            yield file
            return
        unpack: Any = {"gzip": _gzip, "bzip2": bz2.BZ2File, "zlib": _zlib}[encoding]
        with unpack(file) as stream:
            yield stream


def _gzip(file: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _zlib(file: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(_Inflated(file), _CHUNK)


def fill(stream: IO[bytes], buffer: memoryview) -> None:
    """Read exactly as many bytes as a buffer holds.

    Raises:
        EOFError: the stream ends early.
    """
    done = 0
    while done < len(buffer):
        part = stream.read(min(len(buffer) - done, 8 * _CHUNK))
        if not part:
            raise EOFError(f"it ends {len(buffer) - done} bytes early")
        buffer[done : done + len(part)] = part
        done += len(part)


def read_to_end(stream: IO[bytes], path: Path) -> int:
    """Number of bytes that follow in a stream; with its end, its checksum is compared.

    Raises:
        UserError: far more follows than any format adds.
    """
    count = 0
    while part := stream.read(_CHUNK):
        count += len(part)
        if count > _MOST_EXTRA:
            raise UserError(
                f"{path}: over {_MOST_EXTRA >> 20} MiB follow the voxels that the header states. "
                "The header may be damaged: convert the original series again."
            )
    return count


class _Inflated(io.RawIOBase):
    """The bytes of one zlib or gzip stream at the place of a file, its checksum compared."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        either_header = 32 + zlib.MAX_WBITS
        self._file, self._unpacker = file, zlib.decompressobj(either_header)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(_CHUNK)
            part = self._unpacker.decompress(packed, len(buffer))
            if part:
                buffer[: len(part)] = part
                return len(part)
            if not packed and not self._unpacker.eof:
                raise EOFError("the compressed stream ends early")
        return 0
