"""Zip archives of a data set in BIDS form: what they hold, unpacked safely and whole or not at all.

An archive is somebody else's data. Nothing is written outside the target folder, links and other
special files are refused, and so is an archive that unpacks to far more than its own size.
"""

import errno
import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.progress import byte_progress, require_space
from vertseg.dataset.layout import DATA_FOLDERS

CHUNK = 1 << 20
# CT and masks are compressed already; only small JSON files shrink inside a zip.
MOST_EXPANSION = 20
MOST_MEMBERS = 100_000


def open_archive(path: Path) -> ZipFile:
    """Open a zip archive.

    Raises:
        UserError: it is missing or no complete zip archive.
    """
    try:
        return ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: the archive cannot be read ({error.strerror}).") from error
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: not a complete zip archive ({error}). {_AGAIN}") from error


def check_archive(path: Path) -> None:
    """Check that a file just downloaded is a whole archive that is safe to unpack.

    Raises:
        UserError: it is not.
    """
    try:
        with ZipFile(path) as archive:
            members(archive)
    except zipfile.BadZipFile as error:
        raise UserError(f"what was received is not a complete zip archive ({error})") from error


def members(archive: ZipFile) -> dict[str, ZipInfo]:
    """The data files of an archive by their path below the data set's folder.

    The folder that holds `rawdata` and `derivatives` has many names (`dataset-01training`,
    `01_training`, `dataset-verse19training`, or none) and is left out, and so is what macOS adds
    (`__MACOSX`, `._*`, `.DS_Store`).

    Args:
        archive: open for reading.

    Returns:
        Members by path (`rawdata/sub-x/sub-x_ct.nii.gz`), sorted.

    Raises:
        UserError: the archive is hostile (all its offending members are named), holds no data set
            or several, or two members would go to one file.
    """
    infos = [info for info in archive.infolist() if not info.is_dir()]
    _refuse_hostile(archive, infos)
    paths = {info: PurePosixPath(info.filename) for info in infos}
    wanted = {info: path for info, path in paths.items() if not _clutter(path)}
    tops = sorted({top for path in wanted.values() if (top := _data_set_folder(path)) is not None})
    if not tops:
        raise UserError(f"{archive.filename}: no folder rawdata or derivatives in the archive.")
    if len(tops) > 1:
        found = ", ".join(str(top) for top in tops)
        raise UserError(f"{archive.filename}: the archive holds several data sets: {found}.")
    for path in wanted.values():
        if not path.is_relative_to(tops[0]):
            logger.info("%s: left out, outside the folder %s.", path, tops[0])
    files = [
        (str(path.relative_to(tops[0])), info)
        for info, path in wanted.items()
        if path.is_relative_to(tops[0])
    ]
    _refuse_collisions(archive, [name for name, _ in files])
    return dict(sorted(files))


def extract(
    archive_path: Path, target: Path, accept: Callable[[dict[str, str]], None] | None = None
) -> dict[str, str]:
    """Unpack an archive's data files into `target`, which appears complete or not at all.

    Files are written to a hidden folder beside `target`; every member's CRC is checked on the way.
    An earlier `target` is replaced.

    Args:
        archive_path: zip archive of one data set.
        target: folder that will hold `rawdata` and `derivatives`.
        accept: looks at the hashes before `target` appears and may raise.

    Returns:
        SHA-256 (hexadecimal) by path below `target`.

    Raises:
        UserError: see `members`; or a member is corrupted, the disk is full, `target` is a link.
    """
    if target.is_symlink():
        raise UserError(
            f"{target}: this is a link, and unpacking would replace it. To use data you already "
            "have, set data.root to their folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.replaced")
    for leftover in (partial, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with open_archive(archive_path) as archive:
            hashes = _write_members(archive, partial)
        if accept:
            accept(hashes)
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{target}: the disk is full while unpacking {archive_path}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return hashes


_AGAIN = "Delete the archive and start again: it will be downloaded anew."


def _write_members(archive: ZipFile, folder: Path) -> dict[str, str]:
    files = members(archive)
    total = sum(info.file_size for info in files.values())
    folder.mkdir()
    require_space(folder, total, f"unpacking {archive.filename}")
    hashes = {}
    with byte_progress(f"unpack {Path(str(archive.filename)).name}", total) as move:
        for name, info in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                hashes[name] = _write_member(archive, info, path, move)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise UserError(
                    f"{archive.filename}: {info.filename} is damaged ({error}). {_AGAIN}"
                ) from error
    return hashes


def _write_member(archive: ZipFile, info: ZipInfo, path: Path, move: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with archive.open(info) as source, path.open("xb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            move(len(chunk))
    if path.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"{path.stat().st_size} bytes, not {info.file_size}")
    return digest.hexdigest()


def _clutter(path: PurePosixPath) -> bool:
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def _data_set_folder(path: PurePosixPath) -> PurePosixPath | None:
    """The part of a path in front of `rawdata` or `derivatives`."""
    for index, part in enumerate(path.parts[:-1]):
        if part in DATA_FOLDERS:
            return PurePosixPath(*path.parts[:index])
    return None


def _refuse_hostile(archive: ZipFile, infos: list[ZipInfo]) -> None:
    reasons = [(info.filename, reason) for info in infos if (reason := _hostile(info))]
    if reasons:
        listed = "\n  ".join(f"{name!r}: {reason}" for name, reason in reasons[:20])
        raise UserError(f"{archive.filename}: the archive is not safe to unpack:\n  {listed}")
    size = Path(str(archive.filename)).stat().st_size
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MOST_EXPANSION * size or len(infos) > MOST_MEMBERS:
        raise UserError(
            f"{archive.filename}: the archive is not safe to unpack: {size} bytes would become "
            f"{len(infos)} files of {unpacked} bytes."
        )


def _hostile(info: ZipInfo) -> str | None:
    # zipfile cuts orig_filename at a NUL and, on Windows, turns backslashes into slashes.
    name = info.orig_filename
    if "\0" in name or "\\" in name or ":" in name or not name.isprintable():
        return "unusual characters in its path"
    if name.startswith("/"):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path that leaves the folder"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "a link or special file"
    if info.flag_bits & 0x1:
        return "encrypted"
    return None


def _refuse_collisions(archive: ZipFile, names: list[str]) -> None:
    folded = {name.casefold() for name in names}
    folders = {str(parent) for name in folded for parent in PurePosixPath(name).parents}
    if len(folded) < len(names) or folders & folded:
        raise UserError(f"{archive.filename}: several members would go to one file.")
