"""Zip archives of a data set in VerSe's layout: their files by path, and unpacking.

A data set is unpacked whole or not at all. `vertseg.scans.zips` opens the archives and refuses what
is not safe to unpack.
"""

import errno
import hashlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.progress import byte_progress, require_space
from vertseg.dataset.layout import DATA_FOLDERS
from vertseg.scans.zips import DATA_SET, Archive, open_zip

_CHUNK = 1 << 20
_JUST_RECEIVED = replace(DATA_SET, if_damaged="", if_refused="")
"""Without advice: the download goes on with the next mirror."""


def open_archive(path: Path) -> AbstractContextManager[Archive]:
    """Open the archive of a data set, within the limits of `DATA_SET`.

    Raises:
        UserError: it is missing, damaged, or not safe to unpack (see `zips.open_zip`).
    """
    return open_zip(path, DATA_SET)


def check_archive(path: Path) -> None:
    """Check that a file just downloaded is a whole archive that is safe to unpack.

    Raises:
        UserError: it is not.
    """
    with open_zip(path, _JUST_RECEIVED) as archive:
        members(archive)


def members(archive: Archive) -> dict[str, str]:
    """Names of an archive's data files by their path below the data set's folder.

    The folder that holds `rawdata` and `derivatives` has many names (`dataset-01training`,
    `01_training`, `dataset-verse19training`, or none) and is left out.

    Args:
        archive: opened by `open_archive`.

    Returns:
        Names by path (`rawdata/sub-x/sub-x_ct.nii.gz`), sorted.

    Raises:
        UserError: the archive holds no data set or several, or two files would go to one path.
    """
    paths = {name: PurePosixPath(name) for name in archive.names()}
    tops = sorted({top for path in paths.values() if (top := _data_set_folder(path)) is not None})
    if not tops:
        raise UserError(f"{archive.path}: no folder rawdata or derivatives in the archive.")
    if len(tops) > 1:
        found = ", ".join(str(top) for top in tops)
        raise UserError(f"{archive.path}: the archive holds several data sets: {found}.")
    files: list[tuple[str, str]] = []
    for name, path in paths.items():
        if path.is_relative_to(tops[0]):
            files.append((str(path.relative_to(tops[0])), name))
        else:
            logger.info("%s: left out, outside the folder %s.", path, tops[0])
    _refuse_collisions(archive, [path for path, _ in files])
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
        accept: check of the hashes, which may raise before `target` appears.

    Returns:
        SHA-256 (hexadecimal) by path below `target`.

    Raises:
        UserError: as for `open_archive` and `members`; or a member is damaged, the disk is full,
            or `target` is a link.
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


def _write_members(archive: Archive, folder: Path) -> dict[str, str]:
    """Write an archive's data files below a new folder; SHA-256 by path below it."""
    files = members(archive)
    total = sum(map(archive.size, files.values()))
    folder.mkdir()
    require_space(folder, total, f"unpacking {archive.path}")
    hashes = {}
    with byte_progress(f"unpack {archive.path.name}", total) as move:
        for path, name in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            hashes[path] = _write_member(archive, name, folder / path, move)
    return hashes


def _write_member(archive: Archive, name: str, path: Path, move: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as source, path.open("xb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            move(len(chunk))
    return digest.hexdigest()


def _data_set_folder(path: PurePosixPath) -> PurePosixPath | None:
    """The part of a path in front of `rawdata` or `derivatives`."""
    for index, part in enumerate(path.parts[:-1]):
        if part in DATA_FOLDERS:
            return PurePosixPath(*path.parts[:index])
    return None


def _refuse_collisions(archive: Archive, names: list[str]) -> None:
    folded = {name.casefold() for name in names}
    folders = {str(parent) for name in folded for parent in PurePosixPath(name).parents}
    if len(folded) < len(names) or folders & folded:
        raise UserError(f"{archive.path}: several members would go to one file.")
