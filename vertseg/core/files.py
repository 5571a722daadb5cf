"""Files that appear whole or not at all, and walks through folders."""

import glob
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vertseg.core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_END_BYTES = 1 << 14


def walk_files(
    root: str | os.PathLike[str],
    deep: bool = True,
    left_out: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """The files of a folder and of those below it; links are followed.

    A folder reached by several paths, such as a link to a folder above, is walked once, by a path
    without links if there is one. Hidden files and folders, pipes and devices are passed over.

    Args:
        root: the folder.
        deep: also walk the folders below it.
        left_out: a folder that is not walked, unless the root lies in it.

    Yields:
        Folders, by paths below the root, with the sorted names of their files.

    Raises:
        UserError: a folder cannot be read, or a link leads nowhere.
    """
    start = Path(root)
    # A link to a folder that holds the root would lead to everything beside the root.
    walked = {_identity(parent) for parent in start.resolve().parents}
    if left_out is not None and Path(left_out).is_dir():
        walked.add(_identity(Path(left_out)))
    walked.discard(_identity(start))
    folders: list[Path] = [start]
    links: list[Path] = []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        identity = _identity(folder)
        if identity in walked:
            continue
        walked.add(identity)
        names = []
        for entry in _visible_entries(folder):
            path, is_link = folder / entry.name, entry.is_symlink()
            if is_link and not path.exists():
                raise UserError(
                    f"{path}: a link to {path.readlink()}, which is missing. Mend or remove the "
                    "link."
                )
            if entry.is_dir():
                (links if is_link else folders).append(path)
            elif entry.is_file():
                names.append(entry.name)
        yield folder, names
        if not deep:
            return
        folders.sort(reverse=True)
        links.sort()


def _visible_entries(folder: Path) -> list[os.DirEntry[str]]:
    with _unreadable_named(folder), os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _identity(folder: Path) -> tuple[int, int]:
    """Numbers that all paths of a folder share."""
    with _unreadable_named(folder):
        found = folder.stat()
    return found.st_dev, found.st_ino


@contextmanager
def _unreadable_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}). Check the path and your rights to it."
        ) from error


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` and move it there when the block succeeds.

    The temporary file keeps the target's whole suffix, since nibabel and matplotlib choose their
    format by it, and is removed if the block fails. Its folder is created. Temporary files of
    killed processes for the same target are removed.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=_whole_suffix(target), dir=target.parent
    )
    temporary = Path(name)
    try:
        with _held(handle):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(target: str | os.PathLike[str]) -> None:
    """Remove temporary files for a target whose processes were killed.

    The kernel frees the lock of a process that dies. Where a file system has no locks, files stay.
    """
    target = Path(target)
    if fcntl is None:
        return
    # Eight characters are what tempfile puts in.
    pattern = f".{glob.escape(target.name)}.{'[a-z0-9_]' * 8}{glob.escape(_whole_suffix(target))}"
    for leftover in target.parent.glob(pattern):
        with suppress(OSError), leftover.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2) + "\n")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def ends_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's size, start and end, in hexadecimal digits: a glance at a large file.

    The end of a file compressed by gzip holds a checksum of its content.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(f"{size}\n".encode())
        for place in (0, max(size - _END_BYTES, 0)):
            file.seek(place)
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


@contextmanager
def _held(handle: int) -> Iterator[None]:
    """Close a file at the end of a block, and hold its lock until then where there are locks."""
    if fcntl is None:
        os.close(handle)
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _whole_suffix(target: Path) -> str:
    return "".join(target.suffixes[-2:]) if target.suffix == ".gz" else target.suffix


_UMASK_LOCK = threading.Lock()


def _umask() -> int:
    # It is read by setting it, for all threads of the process.
    with _UMASK_LOCK:
        current = os.umask(0)
        os.umask(current)
    return current
