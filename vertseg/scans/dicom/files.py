"""DICOM files of a folder or a zip archive, read where they lie: nothing is unpacked.

Other files may lie among them: viewers, licences and directories (DICOMDIR) of a hospital's disc. A
file counts as DICOM if it has DICOM's mark, or if it lacks the mark, as old files do, but starts
with an element of a data set. Headers are kept without their voxels.

pydicom converts an element when it is first asked for, and a damaged file can make it raise nearly
any exception. So every element that reading needs is converted here, and the file is named.
"""

import hashlib
import io
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from pydicom import Dataset, Sequence, dcmread
from pydicom.filereader import read_dataset as read_elements
from pydicom.filereader import read_preamble
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
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

_CHUNK = 1 << 20

_SEQUENCES = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
_PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_SLICE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
)
PATIENT = ("PatientID", "PatientName", "PatientBirthDate")
_IDENTITY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "SeriesNumber",
    "SeriesDescription",
)
_NEEDED = (*_IDENTITY, *PATIENT, *_PIXELS, *_SLICE, *_SEQUENCES)
"""Elements that reading a series needs; others may be damaged."""


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
        """A file of the folder.

        Raises:
            UserError: it cannot be opened.
        """
        path = self.path / name
        try:
            return path.open("rb")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}). Check the file and its permissions."
            ) from error

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self.open(name) as file:
            return file.read()


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
    """Whether a path is a regular file that looks like DICOM."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return looks_like_dicom(file.read(MARK_START + len(MARK)))


def read_instances(source: Source) -> tuple[list[Instance], list[str]]:
    """The headers of a source's DICOM files.

    Returns:
        DICOM files, sorted by name, copies of one image once; and the names of the other files.

    Raises:
        UserError: a DICOM file is damaged.
    """
    instances = []
    others = []
    for name in progress(source.names(), f"looking through {source.path.name}"):
        header = read_header(source, name)
        if header is None:
            others.append(name)
        else:
            instances.append(Instance(name, header))
    return _without_copies(source, instances), others


def _without_copies(source: Source, instances: list[Instance]) -> list[Instance]:
    """The first of all files that state one SOPInstanceUID and hold one image.

    De-identification may blank the UIDs of different images, or make them all the same.
    """
    same_uid = defaultdict(list)
    for instance in instances:
        same_uid[text(instance.header, "SOPInstanceUID")].append(instance)
    copies: set[str] = set()
    for members in same_uid.values():
        images: set[bytes] = set()
        for instance in members if len(members) > 1 else ():
            image = _image_digest(source, instance)
            if image in images:
                copies.add(instance.name)
            images.add(image)
    return [instance for instance in instances if instance.name not in copies]


def _image_digest(source: Source, instance: Instance) -> bytes:
    """SHA-256 of an image's voxels and of the elements that place them."""
    header = instance.header
    kept = {k: header[k].value for k in (*_PIXELS, *_SLICE, *_SEQUENCES) if k in header}
    digest = hashlib.sha256(repr(kept).encode())
    digest.update(read_dataset(source, instance.name).get("PixelData") or b"")
    return digest.digest()


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
        try:
            header = _parsed(file, stop_before_pixels=True)
            is_directory = _media_class(header) == MediaStorageDirectoryStorage
            if not is_directory and "SOPClassUID" in header:
                _convert(header)
        except UserError:
            raise
        except Exception as error:
            if stated:
                raise damaged(source, name, error) from error
            return None
    if is_directory:
        return None
    if text(header, "SOPClassUID") == CTImageStorage and "Rows" not in header:
        raise damaged(source, name, "a CT image that states no Rows")
    if "SOPClassUID" in header:
        return header
    if stated:
        raise damaged(source, name, "it states no SOP class")
    return None


def read_dataset(source: Source, name: str) -> Dataset:
    """A DICOM file with its voxels and a transfer syntax.

    Raises:
        UserError: the file is damaged.
    """
    content = source.read(name)
    try:
        dataset = _parsed(io.BytesIO(content))
        _convert(dataset)
        # Converts the voxels' element, so that what pydicom raises is caught here.
        dataset.get("PixelData")
        if "TransferSyntaxUID" not in dataset.file_meta:
            is_implicit, is_little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if is_implicit else explicit
            )
    except Exception as error:
        raise damaged(source, name, error) from error
    return dataset


def damaged(source: Source, name: str, reason: object) -> UserError:
    """The error for a file that cannot be read."""
    short = " ".join(str(reason).split())[:_LONGEST_REASON] or type(reason).__name__
    return UserError(
        f"{source.path}: the DICOM file {name} is damaged ({short}). Copy or export it again."
    )


_LONGEST_REASON = 300


def text(header: Dataset, keyword: str) -> str:
    """An element's value as text without spaces around it; "" if it is missing or empty."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def frame_count(header: Dataset) -> int:
    """Number of frames that a header states, by default 1."""
    return int(header.get("NumberOfFrames") or 1)


def _parsed(file: IO[bytes], stop_before_pixels: bool = False) -> Dataset:
    """A file's elements, most of them not yet converted."""
    file.seek(0)
    _refuse_expansion(file)
    file.seek(0)
    return dcmread(cast(Any, file), stop_before_pixels=stop_before_pixels, force=True)


def _refuse_expansion(file: IO[bytes]) -> None:
    """Refuse a deflated data set beyond the limits of an archive; pydicom inflates without one.

    Raises:
        ValueError: the data set is larger, or ends early.
    """
    stream = cast(Any, file)
    read_preamble(stream, force=True)
    meta = read_elements(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag.group != 2,
    )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    stored = inflated = 0
    while not inflater.eof:
        chunk = inflater.unconsumed_tail or file.read(_CHUNK)
        stored += 0 if inflater.unconsumed_tail else len(chunk)
        more = inflater.decompress(chunk, _CHUNK)
        if not (chunk or more or inflater.eof):
            raise ValueError("its deflated data set ends early")
        inflated += len(more)
        limit = min(zips.DICOM.member_bytes, zips.DICOM.expansion * max(stored, _CHUNK))
        if inflated > limit:
            raise ValueError(f"its deflated data set has more than {limit} bytes")


def _media_class(header: Dataset) -> object:
    return header.file_meta.get("MediaStorageSOPClassUID")


def _convert(dataset: Dataset) -> None:
    """Convert the elements that reading needs.

    Raises:
        Exception: pydicom cannot convert an element; or its kind is not what its keyword demands.
    """
    for keyword in _NEEDED:
        if keyword not in dataset:
            continue
        value = dataset[keyword].value
        if isinstance(value, Sequence) != (keyword in _SEQUENCES):
            raise ValueError(f"{keyword} has the representation {dataset[keyword].VR}")
        # Characters of names are decoded late.
        str(value if keyword in PATIENT else "")
        for item in value if isinstance(value, Sequence) else ():
            _convert(item)
    if "NumberOfFrames" in dataset and frame_count(dataset) < 1:
        raise ValueError(f"NumberOfFrames is {dataset.NumberOfFrames}")
