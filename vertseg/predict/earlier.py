"""Files of earlier calls in the output folder: results to keep, and leftovers."""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.files import remove_abandoned, walk_files
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.dataset.layout import FAILURE_SUFFIX, OWN_SCAN_SUFFIXES, REPORT_NAME, RESULT_SUFFIX
from vertseg.predict.result import Result, read_result
from vertseg.scans.data_files import files_of_image
from vertseg.scans.find import absolute_path, file_suffix

PARTIAL_SUFFIX = ".vertseg-partial"
"""End of the name of the hidden folder in which a scan's files wait until all are written."""

ORIGINALS = "originals"
"""Folder, beside the result, of the files that the network made of a corrected scan."""

_WITH_NOTICE = ("mask", "bids_mask", "centroids", "markups")
_HEAD_BYTES = 1 << 16


def result_path(output: Path, name: str) -> Path:
    """Path of a scan's result."""
    return output / f"{name}{RESULT_SUFFIX}"


def failure_path(output: Path, name: str) -> Path:
    """Path of the reason for which a scan has no result."""
    return output / f"{name}{FAILURE_SUFFIX}"


def outcome_files(folder: Path, deep: bool) -> list[Path]:
    """The results and failures in a folder, sorted; not the network's of corrected scans.

    Args:
        folder: where to look.
        deep: also look in the folders below it.

    Raises:
        UserError: a folder cannot be read.
    """
    return sorted(
        place / name
        for place, names in walk_files(folder, deep)
        for name in names
        if name.endswith((RESULT_SUFFIX, FAILURE_SUFFIX))
        and ORIGINALS not in place.relative_to(folder).parts
    )


def shown_source(path: str | os.PathLike[str]) -> str:
    """Absolute path of a scan as valid text; bytes that are not UTF-8 appear as escapes."""
    return str(absolute_path(path)).encode("utf-8", "backslashreplace").decode("utf-8")


def source_state(
    path: str | os.PathLike[str], results: str | os.PathLike[str] | None = None
) -> str:
    """SHA-256 of the names, sizes and times of change of a scan's files.

    Hidden files and outputs of this program in a scan's folder do not count. A DICOM file stands
    for the files beside it. The data files that a header names count, whatever their names
    (MetaImage, NRRD).

    Args:
        path: the scan.
        results: a folder of outputs and logs, which does not count if it lies in the scan's.

    Raises:
        UserError: the scan is missing or cannot be listed.
    """
    path = absolute_path(path)
    try:
        if path.is_dir():
            files = _files_below(path, True, results)
        elif path.is_file() and not file_suffix(path):
            files = _files_below(path.parent, False, results)
        else:
            # Missing data files are the reader's to name.
            files = [file for file in files_of_image(path) if file == path or file.exists()]
        state = hashlib.sha256()
        for file in files:
            status = file.stat()
            state.update(os.fsencode(file) + b"\0")
            state.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder. Check the path.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    return state.hexdigest()


def earlier_result(
    path: Path,
    source: str | os.PathLike[str],
    model_sha256: str,
    decoding: str,
    outlines: str,
    dicom: Collection[str],
) -> Result | None:
    """Result of a scan from an earlier call that would be the same now; None if there is none.

    Args:
        path: the result's JSON file.
        source: the scan.
        model_sha256: checksum of the model.
        decoding: rule by which the network's logits become labels.
        outlines: where outlines come from.
        dicom: kinds of DICOM objects that are wanted.

    Raises:
        UserError: the result has another scan, model, decoding or outlines, is damaged or lacks
            files.
    """
    if not path.exists():
        return None
    try:
        result = read_result(path)
    except UserError as error:
        raise UserError(f"{error} This takes --force, or another --output folder.") from error
    if result.error is not None:
        return None
    flaws = [
        f"lacks its file {file}"
        for file in result.outputs.values()
        if not (path.parent / file).is_file()
    ]
    if result.source != shown_source(source):
        flaws.append(f"is of another scan, {result.source}, not of {shown_source(source)}")
    elif result.source_state not in (None, source_state(source)):
        flaws.append(f"is older than the files of {result.source}, which have changed since")
    if result.model.get("sha256") != model_sha256:
        flaws.append(f"was made with another model, {result.model.get('name')}")
    if result.decoding != decoding:
        flaws.append(f"was made with the decoding {result.decoding}, not {decoding}")
    if result.outlines != outlines:
        flaws.append(f"was made with outlines of the {result.outlines}, not of the {outlines}")
    if result.dicom_wanted is not None and (missing := set(dicom) - set(result.dicom_wanted)):
        flaws.append(f"was made without --dicom {' '.join(sorted(missing))}")
    if flaws:
        lost = (
            ", which replaces a reader's corrections of its labels," if result.corrections else ""
        )
        raise UserError(
            f"{path}: this earlier result {'; it '.join(flaws)}. Give --force to predict the scan "
            f"again{lost or ','} or another --output folder."
        )
    return result


def refuse_existing(output: Path, name: str) -> None:
    """Refuse to replace a scan's result, and files that this program did not write.

    Files without a result are those of a call that was killed; they can be replaced.

    Raises:
        UserError: such a file exists.
    """
    result = result_path(output, name)
    foreign = [
        path
        for path in (output / f"{name}{OWN_SCAN_SUFFIXES[kind]}" for kind in _WITH_NOTICE)
        if path.exists() and not _holds_notice(path)
    ]
    if result.exists() or foreign:
        origin = "exists already" if result.exists() else "was not written by vertseg predict"
        raise UserError(
            f"{result if result.exists() else foreign[0]}: {origin}. Give --force to replace the "
            f"outputs of {name}, or another --output folder."
        )


def remove_outputs(output: Path, name: str) -> None:
    """Remove all files of a scan.

    The result goes first: where it exists, all other files do.
    """
    result_path(output, name).unlink(missing_ok=True)
    for suffix in (*OWN_SCAN_SUFFIXES.values(), FAILURE_SUFFIX):
        (output / f"{name}{suffix}").unlink(missing_ok=True)


@contextmanager
def partial_folder(output: Path, name: str) -> Iterator[Path]:
    """A hidden folder in the output for a scan's files until they are complete.

    Its name is always the same, so that the next call finds and removes what a killed one left.
    Libraries put their temporary files there, too: unpacked scans remain nowhere else.
    """
    folder = output / f".{name}{PARTIAL_SUFFIX}"
    remove_partial(output, name)
    folder.mkdir()
    before = tempfile.tempdir
    tempfile.tempdir = tempfile.mkdtemp(dir=folder)
    try:
        files = folder / "files"
        files.mkdir()
        yield files
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def remove_partial(output: Path, name: str) -> None:
    """Remove what a killed call left of a scan."""
    folder = output / f".{name}{PARTIAL_SUFFIX}"
    if folder.exists():
        shutil.rmtree(folder)


def remove_leftovers(output: Path, targets: Iterable[Path]) -> None:
    """Remove what killed calls left in an output folder that no other call uses.

    Args:
        output: folder of all outputs.
        targets: files whose temporary files are to be removed.
    """
    for folder in output.glob(f".*{PARTIAL_SUFFIX}"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
    for target in targets:
        remove_abandoned(target)


def _files_below(folder: Path, deep: bool, results: str | os.PathLike[str] | None) -> list[Path]:
    """Files of a folder but for hidden ones and those with the names or in a folder of outputs."""
    outputs = (*OWN_SCAN_SUFFIXES.values(), RESULT_SUFFIX, FAILURE_SUFFIX, REPORT_NAME)
    return sorted(
        place / name
        for place, names in walk_files(folder, deep, results)
        for name in names
        if not name.endswith(outputs)
    )


def _holds_notice(path: Path) -> bool:
    """Whether a file's beginning has the notice that all label maps and centroids of ours have."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return RESEARCH_USE_ONLY.encode() in file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return False
