"""Compressed DICOM files through GDCM, within limits of time and memory."""

import math
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import parse_fragments
from pydicom.uid import UID, CTImageStorage, generate_uid

from vertseg.scans.dicom.files import frame_count

LEAST_S, S_PER_MIB = 3.0, 2.0
"""Limit on the processor time of a file: these seconds and so many for each MiB of voxels. Whole
slices of 0.5 MiB take 0.05 to 0.3 s."""
LEAST_BYTES, BYTES_PER_BYTE = 1 << 28, 20
"""Limit on the memory for a file: these bytes and so many for each byte of voxels."""

_PIXEL_ELEMENTS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_DECODER = Path(__file__).with_name("decoder.py")


class UndecodableError(Exception):
    """GDCM refuses a file: it is damaged, or its compression is not supported."""


class Decoder:
    """GDCM in a process of its own, which starts with the first file; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop()

    def decode(self, dataset: Dataset, syntax: UID) -> np.ndarray:
        """The stored values of a file.

        Args:
            dataset: elements that describe the voxels, and compressed PixelData.
            syntax: transfer syntax.

        Returns:
            Values as they are stored, (slices, rows, columns).

        Raises:
            UndecodableError: GDCM refuses the file.
            Exception: the file is damaged, in words; pydicom may raise any exception.
        """
        _refuse_broken_fragments(dataset.PixelData)
        pixels = int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
        size = pixels * int(dataset.BitsAllocated) // 8
        seconds = LEAST_S + S_PER_MIB * size / (1 << 20)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "slices.dcm")
            _voxels_alone(dataset, syntax).save_as(path, enforce_file_format=True)
            return self._answer(f"{seconds:.3g} {LEAST_BYTES + BYTES_PER_BYTE * size} {path}\n")

    def _answer(self, question: str) -> np.ndarray:
        process = self._process = self._process or subprocess.Popen(
            # Without -P, Python would look for modules in this folder.
            [sys.executable, "-P", str(_DECODER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        questions, answers = process.stdin, process.stdout
        assert questions is not None and answers is not None
        try:
            questions.write(question.encode())
            questions.flush()
            answer = answers.readline().split()
        except BrokenPipeError:
            answer = []
        if not answer:
            raise ValueError(self._end(question.partition(" ")[0]))
        if answer[0] != b"decoded":
            raise UndecodableError
        kind, shape = np.dtype(answer[1].decode()), tuple(map(int, answer[2:]))
        content = answers.read(kind.itemsize * math.prod(shape))
        return np.frombuffer(content, kind).reshape(shape)

    def _end(self, seconds: str) -> str:
        """Why the process ended while it decoded a file."""
        assert self._process is not None
        status = self._process.wait()
        self._process = None
        if status == -getattr(signal, "SIGPROF", 0):
            return f"decoding it took over {seconds} s"
        return f"GDCM ended with status {status}"

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._process = None


def _refuse_broken_fragments(encapsulated: bytes) -> None:
    """Refuse compressed voxels that are not a row of items, which GDCM would search byte by byte.

    Raises:
        ValueError: an item lies elsewhere, or reaches beyond the end.
    """
    _, starts = parse_fragments(encapsulated)
    end = 0
    for start in starts[-1:]:
        end = start + 8 + int.from_bytes(encapsulated[start + 4 : start + 8], "little")
    if not 0 < end <= len(encapsulated):
        raise ValueError("its compressed voxels end early")


def _voxels_alone(dataset: Dataset, syntax: UID) -> Dataset:
    """A data set of the same compressed voxels whose decoded values are the stored ones.

    It has no rescaling, and is MONOCHROME2, since GDCM would turn MONOCHROME1 around.
    """
    alone = Dataset()
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = syntax
    alone.SOPClassUID, alone.SOPInstanceUID = CTImageStorage, generate_uid()
    for keyword in _PIXEL_ELEMENTS:
        setattr(alone, keyword, int(dataset[keyword].value))
    alone.NumberOfFrames = frame_count(dataset)
    alone.SamplesPerPixel, alone.PhotometricInterpretation = 1, "MONOCHROME2"
    alone.add_new("PixelData", "OB", dataset.PixelData)
    alone["PixelData"].is_undefined_length = True
    return alone
